"""The enforcement log in Redis: pages backwards from now, and what comes after a cursor as it is written.

The programs in ``lua/`` write it, one stream a partition (``lua/include/events.lua``); here it is only read.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ResponseError

from ledger.errors import LedgerError
from ledger.event_filter import EVERYTHING, EventFilter, EventMatcher
from ledger.event_scan import Scan, reel_before, scan_back
from ledger.events import (
    BEFORE_ALL,
    LAST_OF_ALL,
    Event,
    Position,
    StreamCursor,
    StreamId,
    decode_event,
    parse_stream_id,
)
from ledger.keys import PartitionKeys, partition_of
from ledger.moments import MAX_MOMENT_MS
from ledger.store_commands import read_each, store_errors

if TYPE_CHECKING:
    import redis.asyncio as redis

MAX_SCANNED: Final = 20_000
FOLLOW_CHUNK: Final = 500
MIN_FOLLOW_CHUNK: Final = 20
"""A follower's look reads so many entries in all, and no fewer of each partition."""

POLL_S: Final = 0.2
MAX_FOLLOWED_PARTITIONS: Final = 512
"""A follower's cursor has an id a partition and must fit in one header of 8 KB."""


class LogNotFollowable(LedgerError):
    """The workspace has too many partitions for a cursor that fits in a header; read pages instead."""

    code = "log_not_followable"
    status = 501


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPage:
    """Events, newest first. `next_before` goes on behind them, None at the log's end.

    `scanned_to_ms` is set when the bound of one page's reading was reached before the page was full: up to there all
    was looked at. `newest` is the cursor at which `EventLog.follow` goes on without gap or repetition. Events before
    `trimmed_before_ms` are not complete any more, None if nothing was trimmed yet. `entries` counts all that is kept.
    """

    events: tuple[Event, ...]
    next_before: Position | None
    scanned_to_ms: int | None
    newest: StreamCursor
    trimmed_before_ms: int | None
    entries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvents:
    """What one look at the log found: wanted events, oldest first, each with the cursor behind it.

    `cursor` stands behind everything that was looked at, wanted or not. `missed` says that entries between the last
    cursor and these were trimmed before they could be read.
    """

    events: tuple[tuple[Event, StreamCursor], ...]
    cursor: StreamCursor
    missed: bool = False


@dataclass(frozen=True, slots=True)
class _StreamState:
    """One partition's stream: its newest and oldest id, how many entries it has, whether any were trimmed."""

    newest: StreamId = BEFORE_ALL
    oldest: StreamId = BEFORE_ALL
    entries: int = 0
    trimmed: bool = False


class EventLog:
    """The log of a workspace. Raises `StoreUnavailable` when the store does not answer."""

    def __init__(self, client: "redis.Redis", workspace: str, partitions: int = 1) -> None:
        self._client = client
        self._streams = [PartitionKeys.of(workspace, number).events for number in range(partitions)]
        self._follow_chunk = max(MIN_FOLLOW_CHUNK, FOLLOW_CHUNK // partitions)

    @property
    def partitions(self) -> int:
        """How many streams make up the log."""
        return len(self._streams)

    async def page(
        self,
        event_filter: EventFilter = EVERYTHING,
        *,
        before: Position | None = None,
        limit: int = 50,
        max_scanned: int = MAX_SCANNED,
    ) -> EventPage:
        """Return the newest wanted events, or those before a position; reads about `max_scanned` entries at most."""
        with store_errors("reading the enforcement log"):
            states = await self._states()
            reels = [
                reel_before(number, self._streams[number], state.newest, before=before, until_ms=event_filter.until_ms)
                for number, state in self._asked(event_filter, states)
            ]
            scan = await scan_back(self._client, reels, event_filter, limit=limit, max_entries=max_scanned)
        return _page(scan, states)

    def _asked(self, event_filter: EventFilter, states: Sequence[_StreamState]) -> list[tuple[int, _StreamState]]:
        """List the partitions that can have wanted events: all of a user's are in one."""
        if event_filter.user_id is not None:
            number = partition_of(event_filter.user_id, self.partitions)
            return [(number, states[number])]
        return list(enumerate(states))

    async def newest(self) -> StreamCursor:
        """Return the cursor behind everything that is in the log now."""
        with store_errors("reading the enforcement log"):
            return _newest(await self._states())

    def parse_cursor(self, text: object, *, field: str) -> StreamCursor:
        """Return a follower's cursor; raises `InvalidInput` naming `field`."""
        return StreamCursor.parse(text, partitions=self.partitions, field=field)

    async def follow(
        self, event_filter: EventFilter = EVERYTHING, *, after: StreamCursor | None = None, poll_s: float = POLL_S
    ) -> AsyncGenerator[NewEvents, None]:
        """Yield what is new after a cursor (without one: from now on), for ever; empty looks too, so callers can act.

        Looks again at once while there is more, else after `poll_s`. A look reads a bounded number of entries.
        Raises `LogNotFollowable` with more than 512 partitions.
        """
        if self.partitions > MAX_FOLLOWED_PARTITIONS:
            raise LogNotFollowable(f"a log of {self.partitions} partitions cannot be followed; read pages")
        with store_errors("reading the enforcement log"):
            states = await self._states()
        cursor = _newest(states) if after is None else _within(after, states)
        missed, matcher = after is not None and _has_missed(after, states), EventMatcher(event_filter)
        while True:
            found = await self._after(cursor, matcher)
            cursor = found.cursor
            yield NewEvents(events=found.events, cursor=cursor, missed=missed)
            missed = False
            if not found.is_full:
                await asyncio.sleep(poll_s)

    async def _after(self, cursor: StreamCursor, matcher: EventMatcher) -> "_Look":
        """Read the next entries of every partition and put them in the log's order.

        Where a partition has more than was read, what the others have behind that is left for the next look.
        """
        with store_errors("following the enforcement log"):
            replies = await read_each(self._client, self._read_after, list(zip(self._streams, cursor.ids, strict=True)))
        read = [
            [(Position(*parse_stream_id(entry_id), number), fields) for entry_id, fields in entries]
            for number, entries in enumerate(replies)
        ]
        known_to = min((entries[-1][0] for entries in read if len(entries) == self._follow_chunk), default=None)
        wanted: list[tuple[Event, StreamCursor]] = []
        for position, fields in sorted(chain.from_iterable(read), key=itemgetter(0)):
            if known_to is not None and position > known_to:
                break
            cursor = cursor.after(position)
            if matcher.wants(position, fields):
                wanted.append((decode_event(position, fields), cursor))
        return _Look(tuple(wanted), cursor, is_full=known_to is not None)

    def _read_after(self, pipeline: Any, stream: tuple[str, StreamId]) -> None:
        key, (ms, number) = stream
        if (ms, number) == LAST_OF_ALL:
            pipeline.xrange(key, "+", "-")  # Nothing: no id stands behind it, and servers refuse to look there.
        else:
            pipeline.xrange(key, f"({ms}-{number}", "+", self._follow_chunk)

    async def _states(self) -> list[_StreamState]:
        replies = await read_each(
            self._client, lambda pipeline, key: pipeline.xinfo_stream(key), self._streams, raise_errors=False
        )
        return [_state(reply) for reply in replies]


@dataclass(frozen=True, slots=True)
class _Look:
    events: tuple[tuple[Event, StreamCursor], ...]
    cursor: StreamCursor
    is_full: bool


def _state(reply: Any) -> _StreamState:
    """Read XINFO STREAM; a partition without events has no stream yet."""
    if isinstance(reply, ResponseError) and "no such key" in str(reply):
        return _StreamState()
    if isinstance(reply, Exception):
        raise reply
    entries, first = reply["length"], reply["first-entry"]
    return _StreamState(
        newest=parse_stream_id(reply["last-generated-id"]),
        oldest=parse_stream_id(first[0]) if first else BEFORE_ALL,
        entries=entries,
        trimmed=reply["entries-added"] > entries,
    )


def _newest(states: Sequence[_StreamState]) -> StreamCursor:
    return StreamCursor(tuple(state.newest for state in states))


def _within(cursor: StreamCursor, states: Sequence[_StreamState]) -> StreamCursor:
    """Return a cursor that is not ahead of the streams: after a loss of data they start anew behind it."""
    return StreamCursor(tuple(min(pair) for pair in zip(cursor.ids, _newest(states).ids, strict=True)))


def _has_missed(cursor: StreamCursor, states: Sequence[_StreamState]) -> bool:
    return any(state.trimmed and stream_id < state.oldest for stream_id, state in zip(cursor.ids, states, strict=True))


def _page(scan: Scan, states: Sequence[_StreamState]) -> EventPage:
    trimmed = [min(state.oldest[0], MAX_MOMENT_MS) for state in states if state.trimmed]
    return EventPage(
        events=scan.events,
        next_before=scan.stopped_at,
        scanned_to_ms=min(scan.stopped_at.ms, MAX_MOMENT_MS) if scan.gave_up and scan.stopped_at else None,
        newest=_newest(states),
        trimmed_before_ms=max(trimmed, default=None),
        entries=sum(state.entries for state in states),
    )
