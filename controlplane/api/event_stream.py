"""The live log as server-sent events: enforcement events, and that rules or sidecars have changed.

Each enforcement event has the cursor behind it as its id, which a browser sends back as ``Last-Event-ID``; a reader
that goes on from there loses and repeats nothing. Nothing is kept for a reader in between: who reads slowly is served
slowly, from the log itself.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import orjson

from controlplane.api.event_fields import event_fields
from ledger.errors import StoreError
from ledger.event_filter import EventFilter
from ledger.event_log import EventLog, NewEvents
from ledger.events import StreamCursor

HEARTBEAT_S: Final = 15.0
SIDECARS_S: Final = 2.0
STORE_PAUSE_S: Final = 1.0
RETRY_MS: Final = 2000

Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSources:
    """What a live reader is told of: the log, the revision of the rules in force, and the sidecars' states."""

    log: EventLog
    revision: Callable[[], int]
    sidecars: Callable[[], Awaitable[Document]]


class LiveFeed:
    """The blocks of one reader's stream, made as they are read. `clock` is monotonic, in seconds."""

    def __init__(
        self,
        sources: LiveSources,
        event_filter: EventFilter,
        *,
        after: StreamCursor | None,
        clock: Callable[[], float],
    ) -> None:
        self._sources = sources
        self._filter = event_filter
        self._cursor = after
        self._clock = clock
        self._sent_cursor: StreamCursor | None = None
        self._sent_revision = -1
        self._sent_sidecars: Document | None = None
        self._sidecars_due_s = clock()
        self._heartbeat_due_s = clock() + HEARTBEAT_S
        self._store_lost = False

    async def blocks(self) -> AsyncGenerator[bytes, None]:
        """Yield blocks, empty ones too so that the reader can be looked at; ends never, whatever the store does."""
        yield f"retry: {RETRY_MS}\n\n".encode()
        while True:
            try:
                async with contextlib.aclosing(self._sources.log.follow(self._filter, after=self._cursor)) as looks:
                    async for news in looks:
                        # What the log gave goes out before anything else is asked: its cursor has moved already.
                        yield b"".join([*self._store_found(), *self._of_log(news)])
                        yield b"".join([*self._of_rules(), *await self._of_sidecars(), *self._heartbeat()])
            except StoreError as error:
                yield b"".join([*self._store_gone(error), *self._of_rules(), *self._heartbeat()])
                await asyncio.sleep(STORE_PAUSE_S)

    def _of_log(self, news: NewEvents) -> list[bytes]:
        self._cursor = news.cursor
        blocks = [_block("gap", {"code": "trimmed"})] if news.missed else []
        for event, cursor in news.events:
            blocks.append(_block("enforcement", event_fields(event), cursor.text))
            self._sent_cursor = cursor
        if self._sent_cursor is None:
            blocks.append(self._position())
        return blocks

    def _of_rules(self) -> list[bytes]:
        revision = self._sources.revision()
        if revision == self._sent_revision:
            return []
        self._sent_revision = revision
        return [_block("rules", {"revision": revision})]

    async def _of_sidecars(self) -> list[bytes]:
        if self._clock() < self._sidecars_due_s:
            return []
        self._sidecars_due_s = self._clock() + SIDECARS_S
        sidecars = await self._sources.sidecars()
        if sidecars == self._sent_sidecars:
            return []
        self._sent_sidecars = sidecars
        return [_block("sidecars", sidecars)]

    def _heartbeat(self) -> list[bytes]:
        """Show a quiet reader, and whatever stands in between, that the stream lives; and how far the log was read."""
        if self._clock() < self._heartbeat_due_s:
            return []
        self._heartbeat_due_s = self._clock() + HEARTBEAT_S
        return [b": heartbeat\n", self._position()]

    def _position(self) -> bytes:
        """Return a block that only moves the reader's last id: browsers take it and dispatch no event."""
        if self._cursor is None:
            return b"\n"
        self._sent_cursor = self._cursor
        return f"id: {self._cursor.text}\n\n".encode()

    def _store_gone(self, error: StoreError) -> list[bytes]:
        if self._store_lost:
            return []
        self._store_lost = True
        return [_block("store", {"reachable": False, "code": error.code})]

    def _store_found(self) -> list[bytes]:
        if not self._store_lost:
            return []
        self._store_lost = False
        return [_block("store", {"reachable": True})]


def _block(event: str, data: Document, cursor: str | None = None) -> bytes:
    """Return one event; JSON has no line ends, so no text in it can end the block."""
    head = f"event: {event}\n" if cursor is None else f"event: {event}\nid: {cursor}\n"
    return b"".join([head.encode(), b"data: ", orjson.dumps(data), b"\n\n"])
