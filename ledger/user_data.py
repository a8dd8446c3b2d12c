"""Everything the store has of one user: found by looking at every key, and read for an export."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from ledger.connection import each_server
from ledger.counter_text import StoredCounter, parse_counter
from ledger.event_filter import EventFilter, EventMatcher
from ledger.events import Event, Position, decode_event, parse_stream_id
from ledger.keys import PartitionKeys, partition_of
from ledger.plans import parse_window_code
from ledger.record_text import parse_record
from ledger.store_commands import read_each, store_errors
from ledger.windows import Window

if TYPE_CHECKING:
    import redis.asyncio as redis

SCAN_COUNT: Final = 1000
EVENTS_AT_ONCE: Final = 1000
GLOB: Final = re.compile(r"([\\*?\[\]^])")


@dataclass(slots=True)
class UserKeys:
    """The keys of one user: counters by window, records by request id, and the index of open holds."""

    counters: dict[Window, str] = field(default_factory=dict)
    records: dict[str, str] = field(default_factory=dict)
    holds: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserData:
    """What the store has of a user: counters, records and events as they are stored, amounts in nano-USD."""

    user_id: str
    counters: list[tuple[Window, StoredCounter]]
    records: list[tuple[str, dict[str, str]]]
    events: list[Event]


class UserReader:
    """Finds and reads what a workspace has of one user. Raises `StoreUnavailable`."""

    def __init__(self, client: "redis.Redis", workspace: str, partitions: int) -> None:
        self._client = client
        self._workspace = workspace
        self._partitions = partitions

    def partition(self, user_id: str) -> PartitionKeys:
        """Return the keys of a user's partition."""
        return PartitionKeys.of(self._workspace, partition_of(user_id, self._partitions))

    async def find(self, user_id: str) -> UserKeys:
        """Return the keys of a user. Reads the names of all keys of the partition: seconds, with millions of them."""
        keys = self.partition(user_id)
        found = UserKeys(holds=keys.holds(user_id))
        pattern = f"{GLOB.sub(_escaped, keys.prefix)}*{GLOB.sub(_escaped, user_id)}"
        with store_errors("looking for a user's keys"):
            for server in await each_server(self._client):
                async for key in _scanned(server, pattern):
                    _keep(found, key, key.removeprefix(keys.prefix), user_id)
        return found

    async def open_holds(self, user_id: str) -> int:
        """Return how many calls of a user are held."""
        with store_errors("counting a user's holds"):
            return int(await self._client.zcard(self.partition(user_id).holds(user_id)))

    async def read(self, user_id: str) -> UserData:
        """Return all of a user."""
        keys = await self.find(user_id)
        with store_errors("reading a user's data"):
            counters = await read_each(self._client, lambda pipe, key: pipe.get(key), list(keys.counters.values()))
            records = await read_each(self._client, lambda pipe, key: pipe.get(key), list(keys.records.values()))
        events = [event async for event in self.events(user_id)]
        return UserData(
            user_id=user_id,
            counters=[
                (window, parse_counter(value))
                for window, value in zip(keys.counters, counters, strict=True)
                if value is not None
            ],
            records=[
                (request, parse_record(value))
                for request, value in zip(keys.records, records, strict=True)
                if value is not None
            ],
            events=events,
        )

    async def events(self, user_id: str) -> AsyncIterator[Event]:
        """Yield a user's events, oldest first."""
        number = partition_of(user_id, self._partitions)
        stream, after = self.partition(user_id).events, "-"
        matcher = EventMatcher(EventFilter(user_id=user_id))
        while True:
            with store_errors("reading a user's events"):
                entries: list[Any] = await self._client.xrange(stream, after, "+", count=EVENTS_AT_ONCE) or []
            for entry_id, fields in entries:
                position = Position(*parse_stream_id(entry_id), number)
                if matcher.wants(position, fields):
                    yield decode_event(position, fields)
            if len(entries) < EVENTS_AT_ONCE:
                return
            after = f"({entries[-1][0].decode()}"


def _escaped(match: re.Match[str]) -> str:
    return f"\\{match[1]}"


async def _scanned(server: "redis.Redis", pattern: str) -> AsyncIterator[str]:
    cursor: int | None = None
    while cursor != 0:
        reply: Any = await server.scan(cursor or 0, match=pattern, count=SCAN_COUNT)
        cursor, keys = reply
        for key in keys:
            yield key.decode()


def _keep(found: UserKeys, key: str, rest: str, user_id: str) -> None:
    """Keep a key that is the user's; one that only ends like it is another's."""
    kind, _, name = rest.partition(":")
    if kind == "counter":
        *code, user = name.split(":", 3)
        if user == user_id:
            found.counters[parse_window_code(":".join(code))] = key
    elif kind == "request":
        length, _, ids = name.partition(":")
        request, user = ids[: int(length)], ids[int(length) + 1 :]
        if user == user_id:
            found.records[request] = key
