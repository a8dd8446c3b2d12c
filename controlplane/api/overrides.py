"""Handlers of many overrides at once: CSV in with a preview, and rules of both kinds out as CSV."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any, Final

from aiohttp import web

from controlplane.api.access import actor_name
from controlplane.api.answers import NO_STORE, answer
from controlplane.api.bodies import read_bytes
from controlplane.api.change_fields import delta_fields
from controlplane.api.preconditions import etag, expected_revision
from controlplane.api.queries import Query
from controlplane.api.rule_items import FILTERS, read_filter, read_sort
from controlplane.api.rules import UnsupportedMediaType, result_fields
from controlplane.csv_text import csv_text
from controlplane.override_csv import (
    CsvFault,
    CsvOverrides,
    csv_header,
    csv_row,
    placed_faults,
    read_overrides,
)
from controlplane.registry import Registry
from controlplane.rule_imports import ImportDiff
from controlplane.rule_lists import RuleLists
from ledger.errors import RuleSetInvalid
from ledger.rule_fields import parse_note
from ledger.rules import RuleKind

CSV: Final = "text/csv"
CSV_NAMES: Final = frozenset({CSV, "application/csv", "application/vnd.ms-excel", "application/octet-stream"})
ROWS_SHOWN: Final = 100
ROWS_A_CHUNK: Final = 1000
FAULTS_SHOWN: Final = 200
KEY_COLUMNS: Final = {RuleKind.TIER_TEMPLATE: "tier", RuleKind.USER_OVERRIDE: "user_id"}
FILES: Final = {RuleKind.TIER_TEMPLATE: "templates", RuleKind.USER_OVERRIDE: "overrides"}


class OverrideImportHandlers:
    """Overrides from CSV: those of the same user and window are changed, others are added, none is removed."""

    def __init__(self, registry: Registry, *, max_bytes: int) -> None:
        self._registry = registry
        self._max_bytes = max_bytes

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [web.post("/api/v1/overrides/import", self.import_overrides)]

    async def import_overrides(self, request: web.Request) -> web.Response:
        """Put overrides in force; with `preview` only tell what that would do, and every fault with its line."""
        query = Query(request, ["preview", "change_note"])
        note = parse_note(query.long_text("change_note") or "", field="change_note")
        is_preview = bool(query.flag("preview"))
        expected = None if is_preview else expected_revision(request)
        if request.content_type not in CSV_NAMES:
            raise UnsupportedMediaType(f"send {CSV}, not {request.content_type[:100]}")
        body = await read_bytes(request, self._max_bytes)
        overrides = await asyncio.to_thread(read_overrides, body)
        if is_preview:
            return answer(await self._preview(overrides))
        if overrides.faults:
            raise RuleSetInvalid([_problem_fault(fault) for fault in overrides.faults])
        try:
            done = await self._registry.merge_overrides(
                overrides.documents, expected_revision=expected, actor=actor_name(request), note=note
            )
        except RuleSetInvalid as invalid:
            placed = placed_faults(overrides, invalid.faults)
            raise RuleSetInvalid([_problem_fault(fault) for fault in placed]) from invalid
        response = answer(result_fields(done))
        response.headers.update(etag(done.revision))
        return response

    async def _preview(self, overrides: CsvOverrides) -> dict[str, Any]:
        """Look at the good lines too when others are faulty, so that all is told at once."""
        faults = list(overrides.faults)
        diff: ImportDiff | None = None
        try:
            diff = await self._registry.preview_overrides(overrides.documents)
        except RuleSetInvalid as invalid:
            faults += placed_faults(overrides, invalid.faults)
        counts = {"added": 0, "changed": 0, "unchanged": 0}
        rows: list[dict[str, Any]] = []
        if diff is not None:
            counts = {"added": len(diff.added), "changed": len(diff.changed), "unchanged": diff.unchanged}
            deltas = [*diff.changed, *diff.added]
            rows = [delta_fields(delta) for delta in deltas[:ROWS_SHOWN]]
        return {
            **counts,
            "faults": [
                {"line": fault.line, "field": fault.field, "message": fault.message}
                for fault in sorted(faults, key=_line)[:FAULTS_SHOWN]
            ],
            "fault_count": len(faults),
            "rows": rows,
            "revision": self._registry.book.revision if diff is None else diff.revision,
        }


class RuleCsvHandlers:
    """The rules of one kind as CSV, filtered and sorted as the list is."""

    def __init__(self, lists: RuleLists) -> None:
        self._lists = lists

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [web.get(f"/api/v1/{FILES[self._lists.kind]}.csv", self.csv, allow_head=False)]

    async def csv(self, request: web.Request) -> web.StreamResponse:
        """Send all rules that a filter wants, page by page."""
        name = FILES[self._lists.kind]
        disposition = f'attachment; filename="{name}.csv"'
        headers = {**NO_STORE, "Content-Type": "text/csv; charset=utf-8; header=present"}
        response = web.StreamResponse(headers={**headers, "Content-Disposition": disposition})
        async with contextlib.aclosing(self._pages(Query(request, FILTERS))) as pages:
            first = await anext(pages)
            await response.prepare(request)
            await response.write(first.encode())
            async for page in pages:
                await response.write(page.encode())
        await response.write_eof()
        return response

    async def _pages(self, query: Query) -> AsyncGenerator[str, None]:
        wanted, (sort, descending) = read_filter(query), read_sort(query)
        column, after = KEY_COLUMNS[self._lists.kind], None
        header = csv_text([(column, *csv_header()[1:])])
        while True:
            page = await self._lists.page(wanted, sort=sort, descending=descending, after=after, limit=ROWS_A_CHUNK)
            yield header + csv_text([csv_row(row, key_column=column) for row in page.rows])
            header, after = "", page.last
            if after is None:
                return


def _problem_fault(fault: CsvFault) -> tuple[str, str]:
    where = f"line {fault.line}" if fault.line else "document"
    return (f"{where}.{fault.field}" if fault.field else where), fault.message


def _line(fault: CsvFault) -> int:
    return fault.line
