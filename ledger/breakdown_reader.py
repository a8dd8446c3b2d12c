"""Reads the breakdown of days: what was used by group, model and tier, over all partitions. Only reads."""

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from ledger.breakdown import NOTHING, Rows, decode_rows
from ledger.keys import PartitionKeys
from ledger.store_commands import read_each, store_errors
from ledger.windows import Window

if TYPE_CHECKING:
    import redis.asyncio as redis


class BreakdownReader:
    """The breakdown of a workspace. Raises `StoreUnavailable` when the store does not answer."""

    def __init__(self, client: "redis.Redis", workspace: str, partitions: int = 1) -> None:
        self._client = client
        self._partitions = [PartitionKeys.of(workspace, number) for number in range(partitions)]

    async def days(self, days: Sequence[Window]) -> AsyncIterator[tuple[Window, Rows]]:
        """Yield each day with its rows; one round trip a day, so that nobody waits for all of them at once."""
        for day in days:
            yield day, await self._of_day(day)

    async def _of_day(self, day: Window) -> Rows:
        keys = [part.breakdown(day) for part in self._partitions]
        with store_errors("reading the breakdown"):
            replies = await read_each(self._client, lambda pipeline, key: pipeline.hgetall(key), keys)
        rows: Rows = {}
        for reply in replies:
            for key, used in decode_rows(reply).items():
                rows[key] = rows.get(key, NOTHING) + used
        return rows
