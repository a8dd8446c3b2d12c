"""Handlers of the enforcement log: pages, CSV and the live stream."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final

from aiohttp import web

from controlplane.api.answers import NO_STORE, answer
from controlplane.api.event_fields import FILTER_PARAMETERS, event_fields, read_filter
from controlplane.api.event_stream import LiveFeed, LiveSources
from controlplane.api.queries import Query
from controlplane.enforcement_log import MAX_CSV_ROWS, csv_chunks
from ledger.errors import LedgerError, StoreError
from ledger.event_log import MAX_FOLLOWED_PARTITIONS, EventLog, LogNotFollowable
from ledger.events import Position, StreamCursor
from ledger.windows import rfc3339

MAX_STREAMS: Final = 100
MAX_EXPORTS: Final = 4
WRITE_TIMEOUT_S: Final = 30.0
MAX_STREAM_S: Final = 3600.0
"""A browser comes again, and whether it still may read is looked at anew."""

log = logging.getLogger("spendgate.http")


class TooManyStreams(LedgerError):
    """So many readers follow the log that another one is refused; close some, or read pages."""

    code = "too_many_streams"
    status = 503


class TooManyExports(LedgerError):
    """So many exports run that another one is refused; try again when one has ended."""

    code = "too_many_exports"
    status = 503


class EventHandlers:
    """The enforcement log over HTTP."""

    def __init__(self, sources: LiveSources, *, is_closing: Callable[[], bool]) -> None:
        self._sources = sources
        self._log: EventLog = sources.log
        self._is_closing = is_closing
        self._streams = 0
        self._exports = 0

    def routes(self) -> list[web.RouteDef]:
        """Return the routes; what is streamed has no HEAD, which would stream it as well."""
        return [
            web.get("/api/v1/events", self.page),
            web.get("/api/v1/events.csv", self.csv, allow_head=False),
            web.get("/api/v1/events/stream", self.stream, allow_head=False),
        ]

    async def page(self, request: web.Request) -> web.Response:
        """Answer a page of events, newest first."""
        query = Query(request, [*FILTER_PARAMETERS, "cursor", "limit"])
        cursor = query.long_text("cursor")
        before = None if cursor is None else Position.parse(cursor, field="cursor")
        page = await self._log.page(read_filter(query), before=before, limit=query.limit())
        return answer(
            {
                "items": [event_fields(event) for event in page.events],
                "next_cursor": None if page.next_before is None else page.next_before.text,
                "total": None,
                "revision": self._sources.revision(),
                "entries": page.entries,
                "scanned_to": _moment(page.scanned_to_ms),
                "trimmed_before": _moment(page.trimmed_before_ms),
                "stream_cursor": page.newest.text if self._can_follow else None,
            }
        )

    async def csv(self, request: web.Request) -> web.StreamResponse:
        """Answer the events of a filter as CSV, newest first."""
        event_filter = read_filter(Query(request, FILTER_PARAMETERS))
        if self._exports >= MAX_EXPORTS:
            raise TooManyExports(f"{MAX_EXPORTS} exports of the enforcement log run already")
        self._exports += 1
        try:
            return await self._export(request, csv_chunks(self._log, event_filter))
        finally:
            self._exports -= 1

    async def _export(self, request: web.Request, chunks: AsyncGenerator[str, None]) -> web.StreamResponse:
        head, first = await anext(chunks), await anext(chunks)
        response = web.StreamResponse(
            headers={
                **NO_STORE,
                "Content-Type": "text/csv; charset=utf-8; header=present",
                "Content-Disposition": 'attachment; filename="enforcement-log.csv"',
                "X-Row-Limit": str(MAX_CSV_ROWS),
            }
        )
        await response.prepare(request)
        async with contextlib.aclosing(chunks):
            try:
                await _write(response, (head + first).encode())
                async for chunk in chunks:
                    await _write(response, chunk.encode())
            except (StoreError, ConnectionError, TimeoutError) as error:
                log.warning("an export of the enforcement log ended early: %s", error or type(error).__name__)
                _cut_off(request)
        return response

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Send what happens, as it happens, until the reader leaves."""
        query = Query(request, [*FILTER_PARAMETERS, "after"])
        event_filter, after = read_filter(query), self._resume_at(request, query)
        if not self._can_follow:
            raise LogNotFollowable(f"a log of {self._log.partitions} partitions cannot be followed; read pages")
        if self._streams >= MAX_STREAMS:
            raise TooManyStreams(f"{MAX_STREAMS} readers follow the log already")
        feed = LiveFeed(self._sources, event_filter, after=after, clock=asyncio.get_running_loop().time)
        self._streams += 1
        try:
            return await self._send(request, feed)
        finally:
            self._streams -= 1

    @property
    def _can_follow(self) -> bool:
        return self._log.partitions <= MAX_FOLLOWED_PARTITIONS

    def _resume_at(self, request: web.Request, query: Query) -> StreamCursor | None:
        """Return where to go on: the browser's own header counts before what the page once asked for."""
        header = request.headers.get("Last-Event-ID")
        if header:
            return self._log.parse_cursor(header, field="Last-Event-ID")
        after = query.long_text("after")
        return None if after is None else self._log.parse_cursor(after, field="after")

    async def _send(self, request: web.Request, feed: LiveFeed) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={**NO_STORE, "Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
        )
        await response.prepare(request)
        ends_s = time.monotonic() + MAX_STREAM_S
        async with contextlib.aclosing(feed.blocks()) as blocks:
            try:
                async for block in blocks:
                    if self._is_closing() or time.monotonic() >= ends_s or _is_gone(request):
                        break
                    if block:
                        await _write(response, block)
            except (ConnectionError, TimeoutError):
                _cut_off(request)  # The reader left, or does not read any more.
        return response


async def _write(response: web.StreamResponse, data: bytes) -> None:
    """Write, but not for ever: raises `TimeoutError` when the reader takes nothing."""
    async with asyncio.timeout(WRITE_TIMEOUT_S):
        await response.write(data)


def _is_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _cut_off(request: web.Request) -> None:
    """End the connection without the end of the body, so that nobody takes what was sent for the whole."""
    if request.transport is not None:
        request.transport.abort()


def _moment(time_ms: int | None) -> Any:
    return None if time_ms is None else rfc3339(time_ms)
