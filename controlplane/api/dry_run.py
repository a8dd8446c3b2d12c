"""Handler of the dry-run report."""

from collections.abc import Callable
from typing import Any

from aiohttp import web

from controlplane.api.answers import answer
from controlplane.api.queries import Query
from controlplane.dry_run import MAX_RULES, DryRunLine, dry_run_report
from ledger.money import usd_number
from ledger.rules import RuleSet
from ledger.spend_reader import SpendReader
from ledger.windows import rfc3339
from ledger.wire import window_fields


class DryRunHandlers:
    """What would have been blocked."""

    def __init__(self, spend: SpendReader, *, rules: Callable[[], RuleSet]) -> None:
        self._spend = spend
        self._rules = rules

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [web.get("/api/v1/dry-run", self.report)]

    async def report(self, request: web.Request) -> web.Response:
        """Answer a page of the dry-run rules, the largest amount first, and the sums over all of them."""
        query = Query(request, ["cursor", "limit"])
        limit, start = query.limit(), _start(query)
        report = await dry_run_report(self._spend, self._rules())
        end = start + limit
        return answer(
            {
                "items": [_line(line) for line in report.lines[start:end]],
                "next_cursor": str(end) if end < len(report.lines) else None,
                "total": len(report.lines),
                "revision": report.rules_revision,
                "at": rfc3339(report.at_ms),
                "calls": report.calls,
                "would_block_usd": usd_number(report.amount_nanos),
                "complete": report.complete,
            }
        )


def _start(query: Query) -> int:
    """Return where a page starts: the order changes with every call, so a cursor is no more than a place in it."""
    return query.number("cursor", default=0, largest=MAX_RULES, smallest=0)


def _line(line: DryRunLine) -> dict[str, Any]:
    rule = line.rule
    return {
        "rule_id": rule.id,
        "kind": rule.kind,
        "key": rule.key,
        "action": rule.action,
        "limit_usd": None if rule.limit_nanos is None else usd_number(rule.limit_nanos),
        **window_fields(line.window),
        "calls": line.calls,
        "users": line.users,
        "would_block_usd": usd_number(line.amount_nanos),
    }
