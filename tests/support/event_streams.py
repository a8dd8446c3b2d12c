"""Events written by hand into the streams of a workspace, under ids of the test's choice."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import redis.asyncio

from ledger.event_log import EventLog
from ledger.keys import PartitionKeys

WINDOW_CODE = "day:1769817600:1769904000"


def event_fields(**changes: object) -> dict[str, str]:
    """Return the fields of a blocked call as the scripts write them; `changes` are fields of the stream."""
    fields: dict[str, object] = {
        "type": "blocked",
        "at": 1000,
        "user": "alice",
        "request": "r-1",
        "tier": "free",
        "rule": "rule-1",
        "window": WINDOW_CODE,
        "reason": "limit",
        "amount": 1_000_000_000,
        "spend": 5_000_000_000,
        "held": 0,
        "limit": 5_000_000_000,
        "group": "search",
        "model": "gpt-5",
        "price_version": "book 1",
        "meta": "",
        "outcomes": "rule-1=block",
    }
    return {name: str(value) for name, value in (fields | changes).items()}


@dataclass(frozen=True, slots=True)
class EventStreams:
    """The log of a workspace of its own, and its streams."""

    client: Any
    workspace: str
    log: EventLog

    def key(self, partition: int = 0) -> str:
        """Return the key of a partition's stream."""
        return PartitionKeys.of(self.workspace, partition).events

    async def add(self, entry_id: str = "*", *, partition: int = 0, **changes: object) -> str:
        """Write one event; without other wishes its time is that of the id. Returns the id."""
        if entry_id != "*":
            changes.setdefault("at", entry_id.partition("-")[0])
        entry = await self.client.xadd(self.key(partition), event_fields(**changes), id=entry_id)
        return str(entry.decode())

    async def add_many(self, count: int, *, partition: int = 0, first_ms: int = 1000, **changes: object) -> None:
        """Write events a millisecond apart; the request tells which one it is."""
        pipeline = self.client.pipeline(transaction=False)
        for number in range(count):
            fields = event_fields(**({"at": first_ms + number, "request": f"r-{number}"} | changes))
            pipeline.xadd(self.key(partition), fields, id=f"{first_ms + number}-0")
        await pipeline.execute()


@asynccontextmanager
async def event_streams(url: str, *, partitions: int = 1) -> AsyncIterator[EventStreams]:
    """Provide the empty log of a new workspace."""
    workspace = f"log-{uuid4().hex[:12]}"
    async with redis.asyncio.Redis.from_url(url) as client:
        yield EventStreams(client, workspace, EventLog(client, workspace, partitions))
