"""Copies the keys of a workspace to where they are with another number of partitions, under a staged name.

Nothing that is in force is changed, so that a copy which was interrupted is thrown away and made anew.
"""

import heapq
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ResponseError

from ledger.connection import each_server
from ledger.events import StreamId, parse_stream_id
from ledger.keys import PartitionKeys, partition_of
from ledger.repartition_keys import COPIED, NewPlaces, OldKey

if TYPE_CHECKING:
    import redis.asyncio as redis

SCAN_COUNT: Final = 1000
STREAM_CHUNK: Final = 1000
INDEX_TTL_MS: Final = 40 * 24 * 3600 * 1000
"""As `OPEN_HOLD_TTL_MS` of the scripts."""

Entry = tuple[StreamId, int, dict[bytes, bytes]]


class Copy:
    """One copying of a workspace."""

    def __init__(self, client: "redis.Redis", places: NewPlaces, partitions: int) -> None:
        self._client = client
        self._places = places
        self._old = [PartitionKeys.of(places.workspace, number) for number in range(partitions)]

    async def run(self) -> int:
        """Copy everything, the events last; return how many keys were read."""
        keys = 0
        async for chunk in scan_partitions(self._client, self._places.workspace):
            for key, old in chunk:
                keys += 1
                await self._copy(key, old)
        await self._copy_events()
        return keys

    async def _copy(self, key: bytes, old: OldKey) -> None:
        number = self._places.partition_of(old)
        if old.kind == "holds":
            await self._copy_holds(key, old, number)
        elif old.kind == "due":
            await self._copy_due(key)
        elif old.kind in COPIED:
            await self._copy_whole(key, f"{self._places.staged(number).prefix}{old.rest}")

    async def _copy_whole(self, key: bytes, target: str) -> None:
        value, ttl_ms = await self._client.dump(key), await self._client.pttl(key)
        if value is not None:
            await self._client.restore(target, max(0, ttl_ms), value, replace=True)

    async def _copy_holds(self, key: bytes, old: OldKey, number: int) -> None:
        """Copy a user's index of open holds, whose members are the keys of their records."""
        target, prefix = f"{self._places.staged(number).prefix}{old.rest}", self._places.final(number).prefix
        holds: Any = await self._client.zrange(key, 0, -1, withscores=True)
        if holds:
            await self._client.zadd(target, {prefix + _rest(member): score for member, score in holds})
            await self._client.pexpire(target, INDEX_TTL_MS)

    async def _copy_due(self, key: bytes) -> None:
        users: Any = await self._client.zrange(key, 0, -1, withscores=True)
        for user, score in users:
            target = self._places.staged(partition_of(user.decode(), self._places.partitions)).due
            await self._client.zadd(target, {user: score}, lt=True)
            await self._client.pexpire(target, INDEX_TTL_MS)

    async def _copy_events(self) -> None:
        """Deal the events of all partitions out anew, in order; two with one id get ids that follow each other."""
        newest: dict[int, StreamId] = {}
        counts: dict[int, int] = defaultdict(int)
        async for (ms, number), partition, fields in self._merged():
            user_id = fields.get(b"user", b"").decode()
            target = partition_of(user_id, self._places.partitions) if user_id else partition
            entry_id = max((ms, number), _after(newest.get(target)))
            newest[target], counts[target] = entry_id, counts[target] + 1
            name = f"{entry_id[0]}-{entry_id[1]}"
            await self._client.xadd(self._places.staged(target).events, fields, id=name)  # type: ignore[arg-type]
        await self._keep_what_streams_know(newest, counts)

    async def _keep_what_streams_know(self, newest: dict[int, StreamId], counts: dict[int, int]) -> None:
        """Keep that events were trimmed, and where each group of readers stands: at the earliest of its places."""
        trimmed, groups = False, dict[bytes, StreamId]()
        for keys in self._old:
            with suppress(ResponseError):  # A partition without events has no stream.
                about: Any = await self._client.xinfo_stream(keys.events)
                trimmed = trimmed or about["entries-added"] > about["length"]
                for group in await self._client.xinfo_groups(keys.events):
                    place = parse_stream_id(group["last-delivered-id"])
                    groups[group["name"]] = min(place, groups.get(group["name"], place))
        for target, (ms, number) in newest.items():
            stream = self._places.staged(target).events
            if trimmed:
                words = ("XSETID", stream, f"{ms}-{number}", "ENTRIESADDED", counts[target] + 1, "MAXDELETEDID", "0-1")
                await self._client.execute_command(*words)  # type: ignore[no-untyped-call]
            for name, place in groups.items():
                await self._client.xgroup_create(stream, name, f"{place[0]}-{place[1]}")

    async def _merged(self) -> AsyncIterator[Entry]:
        """Yield the entries of all old streams by their ids."""
        streams = [self._entries(number, keys.events) for number, keys in enumerate(self._old)]
        heads = [await anext(stream, None) for stream in streams]
        heap = [(head[0], number) for number, head in enumerate(heads) if head is not None]
        heapq.heapify(heap)
        while heap:
            _, number = heap[0]
            head = heads[number]
            if head is not None:
                yield head
            heads[number] = following = await anext(streams[number], None)
            if following is None:
                heapq.heappop(heap)
            else:
                heapq.heapreplace(heap, (following[0], number))

    async def _entries(self, number: int, stream: str) -> AsyncIterator[Entry]:
        after = "-"
        while True:
            entries: Any = await self._client.xrange(stream, after, "+", STREAM_CHUNK)
            for entry_id, fields in entries:
                yield parse_stream_id(entry_id), number, fields
            if len(entries) < STREAM_CHUNK:
                return
            after = f"({entries[-1][0].decode()}"


async def scan_partitions(client: "redis.Redis", workspace: str) -> AsyncIterator[Sequence[tuple[bytes, OldKey]]]:
    """Yield the keys of a workspace's partitions, each once; what else a workspace has is left out."""
    seen: set[bytes] = set()
    for server in await each_server(client):
        cursor: int | None = None
        while cursor != 0:
            reply: Any = await server.scan(cursor or 0, match=f"sg:{workspace}:*", count=SCAN_COUNT)
            cursor, keys = reply
            pairs = [(key, OldKey.parse(key)) for key in keys if key not in seen]
            seen.update(keys)
            yield [(key, old) for key, old in pairs if old is not None]


def _rest(key: bytes) -> str:
    return key.decode().split(":", 3)[3]


def _after(entry_id: StreamId | None) -> StreamId:
    return (0, 1) if entry_id is None else (entry_id[0], entry_id[1] + 1)
