"""A RedisLedger whose scripts read their time from a key instead of TIME, so that tests move it."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ledger.keys import PartitionKeys
from ledger.redis_ledger import RedisLedger, load_programs
from ledger.scripts import _CALL, Script

CLOCK_SOURCE = Path(__file__).parents[2] / "lua" / "include" / "clock.lua"
REAL_CLOCK = "redis.call('TIME')"
ANY_CLOCK = "test:any:clock"
"""Stands in the programs that are joined once for all ledgers; each has its own clock's key in its place."""


@functools.cache
def _programs(shebang: bool) -> Mapping[str, Script]:
    """Return the programs with a clock of their own: joining them takes a tenth of a second, and tests are many."""
    source = CLOCK_SOURCE.read_text()
    assert REAL_CLOCK in source
    fake_clock = source.replace(REAL_CLOCK, f"redis.call('HMGET', '{ANY_CLOCK}', 's', 'us')")
    return load_programs(replacements={"clock": fake_clock}, shebang=shebang)


class ClockedRedisLedger(RedisLedger):
    """The ledger under test; `set_time` sets what its scripts take for the store's time, Unix milliseconds."""

    def __init__(self, client: Any, *, workspace: str, shebang: bool = True) -> None:
        self.client = client
        self.workspace = workspace
        self.keys = PartitionKeys.of(workspace, 0)
        self._clock_key = f"test:{workspace}:clock"
        programs = {
            name: Script(name, script.source.removesuffix(_CALL).replace(ANY_CLOCK, self._clock_key))
            for name, script in _programs(shebang).items()
        }
        super().__init__(client, workspace=workspace, programs=programs)

    async def set_time(self, at_ms: int) -> None:
        """Set the store's time."""
        await self.client.hset(self._clock_key, mapping={"s": at_ms // 1000, "us": at_ms % 1000 * 1000})

    async def store_time_ms(self) -> int:
        """Return the time that was set."""
        seconds, microseconds = await self.client.hmget(self._clock_key, "s", "us")
        return int(seconds) * 1000 + int(microseconds) // 1000

    async def read_hash(self, key: str) -> dict[str, str]:
        """Return a hash as text."""
        stored = await self.client.hgetall(key)
        return {name.decode(): value.decode() for name, value in stored.items()}

    async def read_events(self) -> list[dict[str, str]]:
        """Return every event of the log, oldest first."""
        entries = await self.client.xrange(self.keys.events)
        return [{name.decode(): value.decode() for name, value in fields.items()} for _, fields in entries]
