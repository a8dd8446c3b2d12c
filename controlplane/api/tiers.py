"""Handler of tiers: their totals, and which were sent without having a template."""

from collections.abc import Callable
from typing import Any

from aiohttp import web

from controlplane.api.answers import answer
from controlplane.api.cursors import decode_cursor, encode_cursor
from controlplane.api.queries import Query
from controlplane.usage import TierNow, UsageReader
from ledger.money import usd_number
from ledger.rules import ANY_TIER, RuleSet
from ledger.spend_reader import TierTotal
from ledger.windows import Window, rfc3339
from ledger.wire import window_fields


class TierHandlers:
    """Every tier that has a template or was seen in a current window."""

    def __init__(self, usage: UsageReader, *, rules: Callable[[], RuleSet]) -> None:
        self._usage = usage
        self._rules = rules

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [web.get("/api/v1/tiers", self.tiers)]

    async def tiers(self, request: web.Request) -> web.Response:
        """Answer a page of tiers by name; `has_template=false` lists those that no template names."""
        query, rule_set = Query(request, ["q", "has_template", "cursor", "limit"]), self._rules()
        limit = query.limit()
        found = await self._usage.tiers(
            rule_set,
            has_template=query.flag("has_template"),
            text=query.text("q") or "",
            after=decode_cursor(query.long_text("cursor")),
            limit=limit + 1,
        )
        page = found.tiers[:limit]
        return answer(
            {
                "items": [_tier(tier) for tier in page],
                "next_cursor": encode_cursor(page[-1].tier) if len(found.tiers) > limit else None,
                "total": found.total,
                "revision": rule_set.revision,
                "complete": found.complete,
            }
        )


def _tier(tier: TierNow) -> dict[str, Any]:
    end_ms = tier.last_window_end_ms
    return {
        "tier": tier.tier,
        "is_any_tier": tier.tier == ANY_TIER,
        "has_template": tier.has_template,
        "templates": [rule.id for rule in tier.templates],
        "windows": [total_fields(*entry) for entry in tier.totals],
        "last_window_end": None if end_ms is None else rfc3339(end_ms),
    }


def total_fields(window: Window, total: TierTotal) -> dict[str, Any]:
    """Return a tier's total in a window; amounts beyond the cap are decimal strings."""
    return {**window_fields(window), "spend_usd": usd_number(total.spend_nanos), "calls": total.calls}
