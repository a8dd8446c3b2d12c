"""Tells one webhook what happens: takes events, makes notes, sends them, repeats what failed, forgets what was told.

At least once: an event is done when the receiver has taken its note. Notes keep their order; while a receiver fails,
what comes later waits in the store, and the lag shows.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from controlplane.metrics import Metrics
from controlplane.webhook_file import Webhook
from controlplane.webhook_notes import Note, note_of
from controlplane.webhook_sender import Attempt, Result, WebhookSender
from ledger.errors import StoreUnavailable
from ledger.events import Event
from ledger.webhook_queue import WebhookQueue

TAKEN_AT_ONCE: Final = 50
POLL_S: Final = 1.0
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 30.0
"""Shorter than the minute after which another control plane takes over what this one has taken."""
GIVE_UP_AFTER_S: Final = 6 * 3600.0
HEALTH_GIVE_UP_AFTER_S: Final = 600.0
MAX_HEALTH_NOTES: Final = 1000

log = logging.getLogger("spendgate.webhooks")


@dataclass(slots=True)
class Standing:
    """How a webhook fares, as this process has seen it; Unix milliseconds."""

    delivered: int = 0
    last_delivery_ms: int | None = None
    failing_since_ms: int | None = None
    last_error: str = ""


class WebhookTeller:
    """Serves one webhook. `pause` sleeps, `clock` is monotonic, both in seconds."""

    def __init__(
        self,
        webhook: Webhook,
        queue: WebhookQueue,
        sender: WebhookSender,
        metrics: Metrics,
        *,
        pause: Callable[[float], Awaitable[object]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.webhook = webhook
        self.queue = queue
        self.standing = Standing()
        self._sender = sender
        self._metrics = metrics
        self._pause = pause
        self._clock = clock
        self._health: asyncio.Queue[Note] = asyncio.Queue(MAX_HEALTH_NOTES)

    async def run(self) -> None:
        """Tell events until cancelled; a store that does not answer is asked again."""
        is_open = False
        while True:
            try:
                if not is_open:
                    await self.queue.open()
                    is_open = True
                events = await self.queue.take(TAKEN_AT_ONCE)
                await self._tell(events)
            except StoreUnavailable as error:
                log.debug("webhook %s waits for the store: %s", self.webhook.name, error)
                events = []
            if not events:
                await self._pause(POLL_S)

    async def run_health(self) -> None:
        """Tell what `put` was given until cancelled."""
        while True:
            await self._deliver([await self._health.get()], (), give_up_after_s=HEALTH_GIVE_UP_AFTER_S)

    def put(self, note: Note) -> None:
        """Tell a note about a sidecar or the store soon, if the webhook wants to know."""
        if note.kind in self.webhook.kinds and not self._health.full():
            self._health.put_nowait(note)

    async def attempt(self, note: Note) -> Attempt:
        """Send a note once, now, and say what became of it."""
        attempt = await self._sender.send(self.webhook, [note])
        self._observe(attempt)
        return attempt

    async def _tell(self, events: Sequence[Event]) -> None:
        by_subject: dict[str, Note] = {}
        for event in events:
            note = note_of(event, self.webhook)
            if note is not None:
                by_subject.setdefault(note.subject, note)
        untold = await self.queue.untold([note.id for note in by_subject.values()]) if by_subject else set()
        notes = [note for note in by_subject.values() if note.id in untold]
        if notes:
            await self._deliver(notes, events, give_up_after_s=GIVE_UP_AFTER_S)
            await self.queue.remember({note.id: note.until_ms for note in notes}, now_ms=int(time.time() * 1000))
        if events:
            await self.queue.done(events)

    async def _deliver(self, notes: Sequence[Note], events: Sequence[Event], *, give_up_after_s: float) -> None:
        """Send notes until they are taken, refused for good, or it has taken too long."""
        pause_s, began_s = FIRST_PAUSE_S, self._clock()
        while True:
            attempt = await self._sender.send(self.webhook, notes)
            if attempt.result is Result.FAILED and self._clock() - began_s >= give_up_after_s:
                attempt = Attempt(Result.GIVEN_UP, attempt.reason)
            self._observe(attempt)
            if attempt.result is not Result.FAILED:
                return
            await self._pause(max(attempt.wait_s, pause_s * random.uniform(0.5, 1.0)))  # noqa: S311 - jitter
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            if events:
                await self.queue.keep(events)

    def _observe(self, attempt: Attempt) -> None:
        """Count an attempt; a failure is logged when it begins, a loss each time."""
        standing, now_ms, name = self.standing, int(time.time() * 1000), self.webhook.name
        self._metrics.record_webhook(name, attempt.result)
        if attempt.result is Result.DELIVERED:
            if standing.failing_since_ms is not None:
                log.warning("webhook %s can be told again", name)
            standing.delivered += 1
            standing.last_delivery_ms, standing.failing_since_ms = now_ms, None
            return
        standing.last_error = attempt.reason
        if attempt.result is not Result.FAILED:
            log.error("webhook %s was not told, and will not be: %s", name, attempt.reason)
        elif standing.failing_since_ms is None:
            log.warning("webhook %s cannot be told: %s", name, attempt.reason)
        standing.failing_since_ms = standing.failing_since_ms or now_ms
