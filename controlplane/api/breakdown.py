"""Handlers of the breakdown: what was used by group, model or tier, as pages and as CSV."""

from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from controlplane.api.answers import NO_STORE, answer
from controlplane.api.queries import Query
from controlplane.breakdown import SORTS, Row, RowFilter, average_nanos, csv_chunks, read_breakdown
from ledger.breakdown import Dimension, Used
from ledger.breakdown_reader import BreakdownReader
from ledger.errors import InvalidInput
from ledger.money import usd_number
from ledger.rules import RuleSet
from ledger.spend_reader import DAYS_KEPT, SpendReader
from ledger.windows import Window, last_days, rfc3339
from ledger.wire import percent

DEFAULT_DAYS: Final = 30
MAX_PLACE: Final = 1_000_000
ORDERS: Final = {"asc": True, "desc": False}


class BreakdownHandlers:
    """The last days of the workspace's zone, today last."""

    def __init__(self, reader: BreakdownReader, spend: SpendReader, *, rules: Callable[[], RuleSet]) -> None:
        self._reader = reader
        self._spend = spend
        self._rules = rules

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [web.get("/api/v1/breakdown", self.page), web.get("/api/v1/breakdown.csv", self.csv)]

    async def page(self, request: web.Request) -> web.Response:
        """Answer a page of rows, those with the highest cost first, and the sum of all."""
        query = Query(request, ["by", "days", "q", "unpriced", "sort", "order", "cursor", "limit"])
        dimension, wanted = _dimension(query), _wanted(query)
        start, limit = query.number("cursor", default=0, largest=MAX_PLACE, smallest=0), query.limit()
        days, now_ms = await self._days(query)
        found = await read_breakdown(self._reader, dimension, days, wanted)
        end = start + limit
        return answer(
            {
                "items": [_row(row, found.total) for row in found.rows[start:end]],
                "next_cursor": str(end) if end < len(found.rows) else None,
                "total": len(found.rows),
                "revision": self._rules().revision,
                "by": dimension,
                "at": rfc3339(now_ms),
                "from": rfc3339(days[0].start_s * 1000),
                "until": rfc3339(days[-1].end_s * 1000),
                "timezone": self._rules().workspace.calendar.timezone,
                "sum": _used(found.total),
            }
        )

    async def csv(self, request: web.Request) -> web.Response:
        """Answer a row for each day and name as CSV, the oldest day first."""
        query = Query(request, ["by", "days"])
        dimension = _dimension(query)
        days, _ = await self._days(query)
        calendar = self._rules().workspace.calendar
        chunks = [chunk async for chunk in csv_chunks(self._reader, dimension, days, calendar)]
        return web.Response(
            body="".join(chunks).encode(),
            headers={
                **NO_STORE,
                "Content-Type": "text/csv; charset=utf-8; header=present",
                "Content-Disposition": f'attachment; filename="spend-by-{dimension}.csv"',
            },
        )

    async def _days(self, query: Query) -> tuple[list[Window], int]:
        count = query.number("days", default=DEFAULT_DAYS, largest=DAYS_KEPT)
        now_ms = await self._spend.store_time_ms()
        return last_days(self._rules().workspace.calendar, now_ms / 1000, count), now_ms


def _dimension(query: Query) -> Dimension:
    return Dimension(_choice(query, "by", [str(dimension) for dimension in Dimension], Dimension.GROUP))


def _wanted(query: Query) -> RowFilter:
    return RowFilter(
        text=query.text("q") or "",
        unpriced_only=query.flag("unpriced") or False,
        sort=_choice(query, "sort", list(SORTS), SORTS[0]),
        ascending=ORDERS[_choice(query, "order", list(ORDERS), "desc")],
    )


def _choice(query: Query, name: str, choices: list[str], default: str) -> str:
    value = query.text(name) or default
    if value not in choices:
        raise InvalidInput(f"{name} must be one of {', '.join(choices)}", field=name)
    return value


def _row(row: Row, total: Used) -> dict[str, Any]:
    fields = {"name": row.name, "kind": row.key.kind, **_used(row.used)}
    cost, whole = row.used.cost_nanos, total.cost_nanos
    return {**fields, "share_pct": percent(cost, whole) if cost >= 0 and whole > 0 else None}


def _used(used: Used) -> dict[str, Any]:
    average = average_nanos(used)
    return {
        "calls": used.calls,
        "input_tokens": used.input_tokens,
        "output_tokens": used.output_tokens,
        "cost_usd": usd_number(used.cost_nanos),
        "average_cost_usd": None if average is None else usd_number(average),
        "unpriced_calls": used.unpriced_calls,
        "unpriced_usd": usd_number(used.unpriced_nanos),
    }
