"""`LedgerUnderTest` over a real server or fakeredis: scripts with a clock that tests set, and their state read back."""

from dataclasses import dataclass
from itertools import count
from typing import Any, Final
from uuid import uuid4

from ledger.breakdown import Rows, decode_rows
from ledger.counter_text import parse_counter
from ledger.decisions import CounterState
from ledger.spend_reader import NEVER_COUNTED
from ledger.windows import Window
from tests.support.ledger_under_test import NOON_MS, LedgerUnderTest
from tests.support.ledgers import ClockedRedisLedger

_NUMBERS: Final = count()


@dataclass(frozen=True, slots=True)
class RedisBook:
    """The book of a `ClockedRedisLedger`; see `tests.support.ledger_under_test.Book`."""

    ledger: ClockedRedisLedger

    async def counter(self, window: Window, user_id: str) -> CounterState:
        """Read a user's counter."""
        return await self._state(self.ledger.keys.counter(window, user_id))

    async def tier_total(self, window: Window, tier: str) -> CounterState:
        """Read a tier's totals."""
        return await self._state(self.ledger.keys.tier(window, tier))

    async def tally(self, window: Window, rule_id: str) -> dict[str, int]:
        """Read the counts of a rule."""
        stored = await self.ledger.read_hash(self.ledger.keys.tally(window, rule_id))
        return {name: int(number) for name, number in stored.items() if number != "0"}

    async def breakdown(self, day: Window) -> Rows:
        """Read a day's hash."""
        return decode_rows(await self.ledger.client.hgetall(self.ledger.keys.breakdown(day)))

    async def events(self) -> list[dict[str, str]]:
        """Read the stream."""
        return await self.ledger.read_events()

    async def unattributed(self) -> tuple[int, int]:
        """Read count and sum of the settles that belong to no hold."""
        stored = await self.ledger.read_hash(self.ledger.keys.unattributed)
        return int(stored.get("count", "0")), int(stored.get("nanos", "0"))

    async def _state(self, key: str) -> CounterState:
        stored = await self.ledger.client.get(key)
        return NEVER_COUNTED if stored is None else parse_counter(stored).state


async def redis_under_test(client: Any, *, at_ms: int = NOON_MS, shebang: bool = True) -> LedgerUnderTest:
    """Return a fresh ledger in a workspace of its own on the server behind `client`."""
    ledger = ClockedRedisLedger(client, workspace=f"test-{next(_NUMBERS)}-{uuid4().hex[:8]}", shebang=shebang)
    times = [at_ms]

    async def set_time(time_ms: int) -> None:
        times[0] = time_ms
        await ledger.set_time(time_ms)

    await set_time(at_ms)
    return LedgerUnderTest(ledger, lambda: times[0], set_time, RedisBook(ledger))
