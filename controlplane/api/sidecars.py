"""Handler of sidecars: who runs, with which rules, and who lags."""

from typing import Any

from aiohttp import web

from controlplane.api.answers import answer
from controlplane.api.queries import Query
from controlplane.sidecars import SidecarBoard, SidecarLine, SidecarsNow, Standing, was_degraded
from ledger.windows import rfc3339


class SidecarHandlers:
    """The sidecars of the workspace."""

    def __init__(self, board: SidecarBoard) -> None:
        self._board = board

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [web.get("/api/v1/sidecars", self.sidecars)]

    async def sidecars(self, request: web.Request) -> web.Response:
        """Answer every sidecar that was seen within 24 hours, and how many of them are current."""
        Query(request, [])
        now = await self._board.now()
        return answer({"items": [_line(line) for line in now.lines], **sidecar_summary(now)})


def sidecar_summary(now: SidecarsNow) -> dict[str, Any]:
    """Return the counts: `current` of `total` live sidecars that follow the store have its `revision`."""
    return {
        "revision": now.revision,
        "current": now.count(Standing.CURRENT),
        "total": now.following,
        "own_rules": now.count(Standing.OWN_RULES),
        "stale": now.count(Standing.STALE),
        "store_trouble": sum(not state.store_ok for state in now.live),
        "breaker_open": sum(state.breaker_open for state in now.live),
        "recovering": sum(state.recovering for state in now.live),
        "degraded_lately": sum(was_degraded(state) for state in now.live),
    }


def _line(line: SidecarLine) -> dict[str, Any]:
    state = line.state
    return {
        "id": state.id,
        "host": state.host,
        "version": state.version,
        "standing": line.standing,
        "revision": state.revision,
        "rules_source": state.rules_source,
        "store_ok": state.store_ok,
        "breaker_open": state.breaker_open,
        "recovering": state.recovering,
        "journal_pending": state.journal_pending,
        "degraded_decisions": state.degraded_decisions,
        "degraded_at": rfc3339(state.degraded_ms) if state.degraded_ms else None,
        "started_at": rfc3339(state.started_ms),
        "seen_at": rfc3339(state.seen_ms),
        "age_s": state.age_ms // 1000,
    }
