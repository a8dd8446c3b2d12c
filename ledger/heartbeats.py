"""What sidecars tell of themselves: which rules they have, and whether the store answers them."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import RedisError

from ledger.errors import StoreUnavailable
from ledger.keys import RuleKeys
from ledger.scripts import load_script
from ledger.store_commands import store_errors

if TYPE_CHECKING:
    import redis.asyncio as redis

HEARTBEAT_INTERVAL_S: Final = 5.0
STALE_AFTER_MS: Final = 15_000
FORGOTTEN_AFTER_MS: Final = 24 * 3600 * 1000
MAX_LISTED: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarReport:
    """What a sidecar says. `id` is one process; `store_ok`: since the last report no operation failed for the store.

    `epoch` is empty unless the rules come from the store; `rules_source` is file, push or store. `breaker_open`: the
    store is not asked now. `degraded_decisions` were made without it since the start, the last one at `degraded_ms`.
    `recovering`: lost data is being made good; `journal_pending`: records the store has not acknowledged.
    """

    id: str
    version: str
    host: str
    revision: int
    epoch: str
    store_ok: bool
    started_ms: int
    rules_source: str
    breaker_open: bool = False
    recovering: bool = False
    journal_pending: int = 0
    degraded_decisions: int = 0
    degraded_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SidecarState(SidecarReport):
    """A report, when it came, and how long ago that was; Unix milliseconds and milliseconds of the store."""

    seen_ms: int
    age_ms: int

    @property
    def is_stale(self) -> bool:
        """Say whether three reports are missing: the sidecar is gone, or cut off from the store."""
        return self.age_ms > STALE_AFTER_MS


class Heartbeats:
    """The sidecars of one workspace (``lua/heartbeat.lua``). Raises `StoreUnavailable` if the store is silent."""

    def __init__(self, client: "redis.Redis", *, workspace: str) -> None:
        self._client = client
        self._keys = RuleKeys.of(workspace)
        self._script = load_script("heartbeat")

    async def report(self, report: SidecarReport) -> int:
        """Note a report; return the store's time, Unix milliseconds."""
        return await self._run(report.id, json.dumps(asdict(report)))

    async def withdraw(self, sidecar_id: str) -> None:
        """Forget a sidecar that stops."""
        await self._run(sidecar_id, "")

    async def list(self) -> "list[SidecarState]":
        """Return all sidecars that were seen within 24 hours, by host and id."""
        with store_errors("listing sidecars"):
            pipeline = self._client.pipeline(transaction=False)
            pipeline.time()
            pipeline.zrange(self._keys.sidecars, 0, MAX_LISTED - 1, desc=True, withscores=True)
            pipeline.hgetall(self._keys.sidecar_states)
            reply: Any = await pipeline.execute()
        (seconds, microseconds), seen, texts = reply
        now_ms = seconds * 1000 + microseconds // 1000
        states = [_state(texts.get(member), int(seen_ms), now_ms) for member, seen_ms in seen]
        current = [state for state in states if state is not None and state.age_ms <= FORGOTTEN_AFTER_MS]
        return sorted(current, key=lambda state: (state.host, state.started_ms, state.id))

    async def _run(self, sidecar_id: str, state: str) -> int:
        keys = [self._keys.sidecars, self._keys.sidecar_states]
        try:
            return int(await self._script.run(self._client, keys, [sidecar_id, state, FORGOTTEN_AFTER_MS]))
        except (RedisError, OSError) as error:
            raise StoreUnavailable(f"the store did not take a sidecar's report: {error}") from error


def _state(text: bytes | None, seen_ms: int, now_ms: int) -> SidecarState | None:
    """Return a state, None for a report that another version wrote so that it cannot be read here."""
    try:
        fields: Mapping[str, Any] = json.loads(text or b"")
        return SidecarState(
            id=str(fields["id"]),
            version=str(fields["version"]),
            host=str(fields["host"]),
            revision=int(fields["revision"]),
            epoch=str(fields["epoch"]),
            store_ok=bool(fields["store_ok"]),
            started_ms=int(fields["started_ms"]),
            rules_source=str(fields["rules_source"]),
            breaker_open=bool(fields.get("breaker_open", False)),
            recovering=bool(fields.get("recovering", False)),
            journal_pending=int(fields.get("journal_pending", 0)),
            degraded_decisions=int(fields.get("degraded_decisions", 0)),
            degraded_ms=int(fields.get("degraded_ms", 0)),
            seen_ms=seen_ms,
            age_ms=max(0, now_ms - seen_ms),
        )
    except (ValueError, KeyError, TypeError):
        return None
