"""Handler of the audit trail: who changed what, when, from what to what, and why."""

from typing import Final

from aiohttp import web

from controlplane.api.answers import answer
from controlplane.api.change_fields import change_fields
from controlplane.api.queries import Query
from controlplane.registry import Registry
from ledger.rule_fields import MAX_REVISION

PATH: Final = "/api/v1/audit"


class AuditHandlers:
    """The trail."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [web.get(PATH, self.trail)]

    async def trail(self, request: web.Request) -> web.Response:
        """Answer a page of changes, newest first; the cursor is the revision of the last one."""
        query = Query(request, ["cursor", "limit"])
        limit = query.limit()
        before = query.number("cursor", default=MAX_REVISION, largest=MAX_REVISION)
        found = await self._registry.history(None if before == MAX_REVISION else before, limit + 1)
        page = found[:limit]
        return answer(
            {
                "items": [change_fields(change) for change in page],
                "next_cursor": str(page[-1].revision) if len(found) > limit else None,
                "total": None,
                "revision": self._registry.book.revision,
            }
        )
