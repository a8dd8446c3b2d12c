"""The webhooks of a control plane: a teller for each, and the watch over sidecars and the store."""

import asyncio
import secrets
import socket
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from controlplane.metrics import Metrics
from controlplane.sidecars import SidecarBoard, SidecarsNow
from controlplane.webhook_file import Kind, Webhook
from controlplane.webhook_notes import health_note
from controlplane.webhook_sender import WebhookSender
from controlplane.webhook_teller import WebhookTeller
from ledger.errors import StoreUnavailable
from ledger.webhook_queue import DAY_MS, WebhookQueue

if TYPE_CHECKING:
    from ledger.connection import StoreClient

LOOK_S: Final = 5.0
LOOKS: Final = 2
"""So many looks in a row have to agree: one slow answer is no news."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookPlace:
    """Whose events are told: a workspace and its partitions in a store."""

    client: "StoreClient"
    workspace: str
    partitions: int


class Webhooks:
    """All webhooks of a file; `work` is what has to run in the background."""

    def __init__(self, webhooks: Sequence[Webhook], place: WebhookPlace, board: SidecarBoard, metrics: Metrics) -> None:
        consumer = f"{socket.gethostname()}-{secrets.token_hex(4)}"
        self._sender = WebhookSender(place.workspace)
        self._board = board
        self._metrics = metrics
        self.tellers = {
            webhook.name: WebhookTeller(
                webhook,
                WebhookQueue(place.client, place.workspace, place.partitions, webhook=webhook.name, consumer=consumer),
                self._sender,
                metrics,
            )
            for webhook in webhooks
        }
        self._watch = HealthWatch(list(self.tellers.values()))

    def work(self) -> list[Coroutine[Any, Any, None]]:
        """Return what runs until cancelled."""
        if not self.tellers:
            return []
        tellers = self.tellers.values()
        return [self._look(), *(each.run() for each in tellers), *(each.run_health() for each in tellers)]

    async def aclose(self) -> None:
        """Close the connections to the receivers."""
        await self._sender.aclose()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                now = await self._board.now()
                for name, teller in self.tellers.items():
                    self._metrics.set_webhook_backlog(name, await teller.queue.backlog())
            except StoreUnavailable:
                self._watch.note_store(answers=False)
                continue
            self._watch.note_store(answers=True)
            await self._watch.note_sidecars(now)


class HealthWatch:
    """Notices what has degraded and recovered, and puts it to those who want to know.

    Several control planes look: of a sidecar the store decides who tells; of the store itself each tells for itself.
    """

    def __init__(self, tellers: Sequence[WebhookTeller]) -> None:
        self.tellers = [each for each in tellers if each.webhook.kinds & {Kind.STORE_LOST, Kind.STORE_BACK}]
        self._silent_looks = 0
        self._seen: dict[str, int] = {}

    def note_store(self, *, answers: bool) -> None:
        """Take in one look at the store."""
        if not answers:
            self._silent_looks += 1
            if self._silent_looks == LOOKS:
                self._put(Kind.STORE_LOST)
            return
        if self._silent_looks >= LOOKS:
            self._put(Kind.STORE_BACK)
        self._silent_looks = 0

    async def note_sidecars(self, now: SidecarsNow) -> None:
        """Take in one look at the sidecars. Raises nothing: what the store does not answer is seen by the next look."""
        troubled = {state.id for state in now.live if not state.store_ok}
        self._seen = {name: self._seen.get(name, 0) + 1 for name in troubled}
        degraded = {name for name, looks in self._seen.items() if looks >= LOOKS}
        at_ms = int(time.time() * 1000)
        for teller in self.tellers:
            try:
                await self._tell_sidecars(teller, now, degraded, at_ms)
            except StoreUnavailable:
                return

    async def _tell_sidecars(self, teller: WebhookTeller, now: SidecarsNow, degraded: set[str], at_ms: int) -> None:
        """Tell what is news to a webhook: each look may be older than that of another control plane."""
        told = await teller.queue.healths()
        listed = {line.state.id for line in now.lines}
        old = {name for name, health in told.items() if health.seen_ms < at_ms - DAY_MS}
        await teller.queue.forget_health(old - listed)
        for state in now.live:
            was_degraded = state.id in told and told[state.id].degraded
            is_news = state.store_ok if was_degraded else state.id in degraded
            if is_news and await teller.queue.note_health(state.id, degraded=not was_degraded, seen_ms=state.seen_ms):
                kind = Kind.STORE_BACK if was_degraded else Kind.STORE_LOST
                teller.put(_sidecar_note(kind, state.host, state.id, at_ms))

    def _put(self, kind: Kind) -> None:
        at_ms = int(time.time() * 1000)
        for teller in self.tellers:
            teller.put(health_note(kind, what="the store", name="", since=str(at_ms), at_ms=at_ms))


def _sidecar_note(kind: Kind, host: str, name: str, at_ms: int) -> Any:
    return health_note(kind, what="sidecar", name=f"{host} ({name})", since=str(at_ms), at_ms=at_ms)
