"""Handler of usage: what a user or a tier has spent, in short."""

from collections.abc import Callable

from aiohttp import web

from controlplane.api.answers import answer
from controlplane.api.queries import Query
from controlplane.api.tiers import total_fields
from controlplane.api.user_fields import usage_fields
from controlplane.usage import UsageReader
from ledger.errors import InvalidInput
from ledger.rules import RuleSet
from ledger.windows import rfc3339


class UsageHandlers:
    """The spend of a user, or of a tier."""

    def __init__(self, usage: UsageReader, *, rules: Callable[[], RuleSet]) -> None:
        self._usage = usage
        self._rules = rules

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [web.get("/api/v1/usage", self.usage)]

    async def usage(self, request: web.Request) -> web.Response:
        """Answer a user's windows and budgets (`tier` says as which), or a tier's totals if there is no `user_id`."""
        query, rule_set = Query(request, ["user_id", "tier"]), self._rules()
        user_id = query.name("user_id")
        if user_id is not None:
            tier = query.name("tier", refuse_any_tier=True)
            return answer(usage_fields(await self._usage.user(rule_set, user_id, tier)))
        tier = query.name("tier")
        if tier is None:
            raise InvalidInput("user_id or tier is required", field="user_id")
        at_ms, totals = await self._usage.tier_totals(rule_set.workspace.calendar, tier)
        return answer(
            {
                "tier": tier,
                "at": rfc3339(at_ms),
                "revision": rule_set.revision,
                "windows": [total_fields(*entry) for entry in totals],
            }
        )
