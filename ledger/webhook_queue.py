"""What a webhook has still to be told: a consumer group over the event streams, and a memory of what it was told.

Every control plane reads as a consumer of the same group, so each event goes to one of them. An event stays pending
until `done`; what a control plane that died had taken is taken over by another after a minute.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import ResponseError

from ledger.events import Event, Position, decode_event, parse_stream_id
from ledger.keys import PartitionKeys, WebhookKeys
from ledger.scripts import load_script
from ledger.store_commands import read_each, store_errors

if TYPE_CHECKING:
    import redis.asyncio as redis

GROUP_PREFIX: Final = "webhook:"
TAKEN_OVER_AFTER_MS: Final = 60_000
FORGOTTEN_AFTER_MS: Final = 3_600_000
MAX_COUNTED: Final = 10_000
DAY_MS: Final = 24 * 3600 * 1000
HEALTH_KEPT_MS: Final = 7 * DAY_MS
DEGRADED: Final = "degraded"
RECOVERED: Final = "recovered"
FROM_NOW: Final = "$"
FROM_THE_START: Final = "0"


@dataclass(frozen=True, slots=True)
class Backlog:
    """Events that a webhook has not seen, and those that were taken but are not done.

    Of a partition whose server cannot tell at most 10,000 are counted.
    """

    lag: int
    pending: int


@dataclass(frozen=True, slots=True)
class ToldHealth:
    """What a webhook was told last of a sidecar, and when the sidecar had reported that: Unix ms of the store."""

    degraded: bool
    seen_ms: int


class WebhookQueue:
    """The events of one webhook; `consumer` names this process. Raises `StoreUnavailable`."""

    def __init__(self, client: "redis.Redis", workspace: str, partitions: int, *, webhook: str, consumer: str) -> None:
        self._client = client
        self._streams = [PartitionKeys.of(workspace, number).events for number in range(partitions)]
        keys = WebhookKeys.of(workspace)
        self._told, self._healths = keys.told(webhook), keys.healths(webhook)
        self._note = load_script("note_health")
        self._group, self._consumer = f"{GROUP_PREFIX}{webhook}", consumer

    async def open(self) -> None:
        """Begin with what happens from now on; a webhook that is known goes on where it was.

        Consumers that have left nothing and were not heard of for an hour are forgotten.
        """
        await self._create(FROM_NOW)
        with store_errors("opening a webhook's queue"):
            replies = await read_each(
                self._client,
                lambda pipeline, key: pipeline.xinfo_consumers(key, self._group),
                self._streams,
                raise_errors=False,
            )
            gone = [
                (key, consumer["name"])
                for key, consumers in zip(self._streams, replies, strict=True)
                if isinstance(consumers, list)
                for consumer in consumers
                if not consumer["pending"] and consumer["idle"] > FORGOTTEN_AFTER_MS
            ]
            await read_each(
                self._client, lambda pipeline, item: pipeline.xgroup_delconsumer(item[0], self._group, item[1]), gone
            )

    async def take(self, count: int) -> list[Event]:
        """Take up to `count` events of each partition, in the log's order: first those that a dead process left."""
        with store_errors("reading for a webhook"):
            left = await read_each(self._client, self._claim(count), self._streams, raise_errors=False)
            fresh = await read_each(self._client, self._read(count), self._streams, raise_errors=False)
        if any(_is_lost(reply) for reply in (*left, *fresh)):
            # The stream was lost with the store's data, or expired unused: nothing in the new one was told yet.
            await self._create(FROM_THE_START)
            return []
        _raise_first((*left, *fresh))
        entries = [
            *(_decoded(number, reply[1]) for number, reply in enumerate(left)),
            *(_decoded(number, reply[0][1] if reply else []) for number, reply in enumerate(fresh)),
        ]
        return sorted((event for events in entries for event in events), key=lambda event: event.position)

    async def keep(self, events: Iterable[Event]) -> None:
        """Say that this process still works on events, so that no other takes them over."""
        with store_errors("keeping a webhook's events"):
            await read_each(
                self._client,
                lambda pipeline, item: pipeline.xclaim(item[0], self._group, self._consumer, 0, item[1], justid=True),
                self._by_stream(events),
            )

    async def done(self, events: Iterable[Event]) -> None:
        """Forget events: they were told, or are not wanted."""
        with store_errors("acknowledging a webhook's events"):
            await read_each(
                self._client,
                lambda pipeline, item: pipeline.xack(item[0], self._group, *item[1]),
                self._by_stream(events),
            )

    def _by_stream(self, events: Iterable[Event]) -> list[tuple[str, list[str]]]:
        ids: dict[str, list[str]] = {}
        for event in events:
            ids.setdefault(self._streams[event.partition], []).append(event.id)
        return list(ids.items())

    async def untold(self, subjects: Sequence[str]) -> set[str]:
        """Return those of `subjects` that the webhook was not told yet."""
        with store_errors("reading what a webhook was told"):
            scores = await read_each(
                self._client, lambda pipeline, subject: pipeline.zscore(self._told, subject), subjects
            )
        return {subject for subject, score in zip(subjects, scores, strict=True) if score is None}

    async def remember(self, subjects: dict[str, int], *, now_ms: int) -> None:
        """Remember that the webhook was told; each subject until a moment, Unix milliseconds, at least for a day.

        Forget what is past.
        """
        if not subjects:
            return
        subjects = {subject: max(until_ms, now_ms + DAY_MS) for subject, until_ms in subjects.items()}
        with store_errors("noting what a webhook was told"):
            pipeline = self._client.pipeline(transaction=False)
            pipeline.zadd(self._told, subjects)
            pipeline.zremrangebyscore(self._told, "-inf", now_ms)
            pipeline.pexpireat(self._told, max(subjects.values()), gt=True)
            pipeline.pexpireat(self._told, max(subjects.values()), nx=True)
            await pipeline.execute()

    async def note_health(self, sidecar_id: str, *, degraded: bool, seen_ms: int) -> bool:
        """Say whether what a sidecar reported at `seen_ms`, Unix milliseconds of the store, is news.

        Of several control planes one is told yes, and none whose look is older than the last news.
        """
        state = DEGRADED if degraded else RECOVERED
        with store_errors("noting a sidecar's health"):
            reply = await self._note.run(self._client, [self._healths], [sidecar_id, state, seen_ms, HEALTH_KEPT_MS])
        return bool(reply)

    async def forget_health(self, sidecar_ids: Iterable[str]) -> None:
        """Forget sidecars that are gone for good: an id is one process, so it does not come again."""
        ids = list(sidecar_ids)
        if ids:
            with store_errors("forgetting sidecars' health"):
                await self._client.hdel(self._healths, *ids)

    async def healths(self) -> dict[str, ToldHealth]:
        """Return what was told of sidecars, by their ids."""
        with store_errors("reading sidecars' health"):
            told: Any = await self._client.hgetall(self._healths)
        parts = {name.decode(): text.decode().split() for name, text in told.items()}
        return {name: ToldHealth(state == DEGRADED, int(seen_ms)) for name, (state, seen_ms) in parts.items()}

    async def backlog(self) -> Backlog:
        """Return how far behind the webhook is, over all partitions."""
        with store_errors("reading a webhook's backlog"):
            replies = await read_each(
                self._client, lambda pipeline, key: pipeline.xinfo_groups(key), self._streams, raise_errors=False
            )
            groups = [self._own(reply) for reply in replies if isinstance(reply, list)]
            lags = [
                await self._lag(key, group)
                for key, group in zip(self._streams, groups, strict=False)
                if group is not None
            ]
        return Backlog(sum(lags), sum(group["pending"] for group in groups if group is not None))

    async def _lag(self, key: str, group: dict[str, Any]) -> int:
        """Return what the server says; one that has lost count (as a group that began in the middle) is counted for."""
        if group["lag"] is not None:
            return int(group["lag"])
        after = group["last-delivered-id"].decode()
        entries: list[Any] = await self._client.xrange(key, f"({after}", "+", count=MAX_COUNTED) or []
        return len(entries)

    def _own(self, groups: list[dict[str, Any]]) -> dict[str, Any] | None:
        return next((group for group in groups if group["name"] == self._group.encode()), None)

    async def _create(self, start: str) -> None:
        with store_errors("opening a webhook's queue"):
            replies = await read_each(
                self._client,
                lambda pipeline, key: pipeline.xgroup_create(key, self._group, start, mkstream=True),
                self._streams,
                raise_errors=False,
            )
        _raise_first(reply for reply in replies if "BUSYGROUP" not in str(reply))

    def _claim(self, count: int) -> Any:
        return lambda pipeline, key: pipeline.xautoclaim(
            key, self._group, self._consumer, TAKEN_OVER_AFTER_MS, "0-0", count=count
        )

    def _read(self, count: int) -> Any:
        return lambda pipeline, key: pipeline.xreadgroup(self._group, self._consumer, {key: ">"}, count=count)


def _raise_first(replies: Iterable[object]) -> None:
    """Raise `StoreUnavailable` for the first error among replies: who tells events tries again, and does not die."""
    with store_errors("serving a webhook"):
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply


def _is_lost(reply: object) -> bool:
    return isinstance(reply, ResponseError) and "NOGROUP" in str(reply)


def _decoded(partition: int, entries: Sequence[Any]) -> list[Event]:
    """Return events; an entry that was trimmed while it was pending has no fields any more."""
    return [
        decode_event(Position(*parse_stream_id(entry_id), partition), fields) for entry_id, fields in entries if fields
    ]
