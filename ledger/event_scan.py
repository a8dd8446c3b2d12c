"""Reads the streams of all partitions backwards as one log, newest first, within a bound."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ledger.event_filter import EventFilter, EventMatcher
from ledger.events import BEFORE_ALL, Event, Position, StreamId, decode_event, parse_stream_id
from ledger.store_commands import read_each

if TYPE_CHECKING:
    import redis.asyncio as redis

MAX_CHUNK: Final = 500
UNTIL_SLACK_MS: Final = 60_000
"""How much later than its event an entry's id is at most: scripts are short, but clocks are set back."""


Entry = tuple[bytes, dict[bytes, bytes]]
"""Id and fields, as the store returns them."""


@dataclass(slots=True, kw_only=True)
class Reel:
    """One partition's stream, wound backwards: what was read and not yet taken, and where it goes on.

    `next_id` is the newest entry not read yet, or what stands before it; with `exclusive` not itself.
    """

    partition: int
    key: str
    next_id: StreamId
    exclusive: bool = False
    chunk: int = 1
    at_end: bool = False
    found: deque[Event] = field(default_factory=deque)

    @property
    def frontier(self) -> Position:
        """Every entry at or behind this position is still unread; all before were."""
        return Position(*self.next_id, self.partition)

    @property
    def is_hungry(self) -> bool:
        """Say whether the next wanted event is unknown: nothing is at hand, and the stream goes on."""
        return not self.found and not self.at_end

    def take_chunk(self, entries: list[Entry], matcher: EventMatcher, since_ms: int) -> int:
        """Keep what is wanted of the next entries; returns how many were read.

        An entry's id is never older than its event, and ids only grow: behind `since_ms` all is older still.
        """
        for entry_id, fields in entries:
            self.next_id, self.exclusive = parse_stream_id(entry_id), True
            position = self.frontier
            if position.ms < since_ms:
                self.at_end = True
                break
            if matcher.wants(position, fields):
                self.found.append(decode_event(position, fields))
        self.at_end = self.at_end or len(entries) < self.chunk
        self.chunk = min(MAX_CHUNK, self.chunk * 2)
        return len(entries)


@dataclass(frozen=True, slots=True)
class Scan:
    """What a scan found; `stopped_at` is the position before which to go on, None at the end of the log."""

    events: tuple[Event, ...]
    stopped_at: Position | None
    gave_up: bool


async def scan_back(
    client: "redis.Redis", reels: Sequence[Reel], event_filter: EventFilter, *, limit: int, max_entries: int
) -> Scan:
    """Return up to `limit` wanted events, newest first, after reading about `max_entries` entries at most.

    An event is taken once no partition can still have a newer one: each has one at hand, is at its end, or was read
    past it. `gave_up` says that the bound ended the scan, not the limit or the log.
    """
    events: list[Event] = []
    read, matcher, since_ms = 0, EventMatcher(event_filter), event_filter.since_ms or 0
    for reel in reels:
        reel.chunk = min(MAX_CHUNK, -(-2 * limit // len(reels)))
    while len(events) < limit:
        newest = max((reel for reel in reels if reel.found), key=_newest, default=None)
        hungry = [reel for reel in reels if reel.is_hungry and (newest is None or reel.frontier > _newest(newest))]
        if not hungry:
            if newest is None:
                return Scan(tuple(events), None, gave_up=False)
            events.append(newest.found.popleft())
        elif read >= max_entries:
            return Scan(tuple(events), max(reel.frontier for reel in hungry), gave_up=True)
        else:
            entries = await _read_chunks(client, hungry)
            read += sum(reel.take_chunk(chunk, matcher, since_ms) for reel, chunk in zip(hungry, entries, strict=True))
    more = any(reel.found or not reel.at_end for reel in reels)
    return Scan(tuple(events), events[-1].position if more else None, gave_up=False)


def _newest(reel: Reel) -> Position:
    return reel.found[0].position


async def _read_chunks(client: "redis.Redis", reels: Sequence[Reel]) -> list[list[Entry]]:
    return await read_each(
        client, lambda pipeline, reel: pipeline.xrevrange(reel.key, _range_end(reel), "-", reel.chunk), reels
    )


def _range_end(reel: Reel) -> str:
    ms, number = reel.next_id
    return f"{'(' if reel.exclusive else ''}{ms}-{number}"


def reel_before(partition: int, key: str, newest: StreamId, *, before: Position | None, until_ms: int | None) -> Reel:
    """Return a reel that starts at `newest`, or before a page's last position or the end of a span."""
    start, exclusive = newest, False
    if before is not None and before <= Position(*newest, partition):
        start, exclusive = (before.ms, before.number), partition >= before.partition
    if until_ms is not None and (until_ms + UNTIL_SLACK_MS, 0) < start:
        start, exclusive = (until_ms + UNTIL_SLACK_MS, 0), False
    return Reel(partition=partition, key=key, next_id=start, exclusive=exclusive, at_end=start == BEFORE_ALL)
