"""What was spent beside every rule of a kind, for lists sorted by it: read as a whole, kept for some seconds.

Spend changes with every call, so no order of it can be kept up; reading 100,000 counters takes the store and this
process seconds. So a reading serves everybody for at least 5 seconds, and for four times as long as it took.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from controlplane.rule_index import SortKey, by_key
from controlplane.usage import RuleSpend, UsageReader
from ledger.rule_book import StoredRule
from ledger.rules import Workspace
from ledger.wire import percent

KEPT_S: Final = 5.0
KEPT_TIMES: Final = 4
RULES_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class _Reading:
    by_id: dict[str, RuleSpend]
    until_s: float


class SpendOrder:
    """Reads and keeps spend. `clock` is monotonic, in seconds."""

    def __init__(self, usage: UsageReader, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._usage = usage
        self._clock = clock
        self._reading: _Reading | None = None
        self._turn = asyncio.Lock()

    async def read(self, workspace: Workspace, rules: Sequence[StoredRule], now_ms: int) -> dict[str, RuleSpend]:
        """Return spend by rule id, some seconds old at most; rules that are new are read. Raises `StoreUnavailable`."""
        async with self._turn:
            reading = self._reading
            if reading is None or self._clock() >= reading.until_s:
                started_s = self._clock()
                by_id = await self._read_all(workspace, rules, now_ms)
                took_s = self._clock() - started_s
                self._reading = reading = _Reading(by_id, self._clock() + max(KEPT_S, KEPT_TIMES * took_s))
            missing = [stored for stored in rules if stored.rule.id not in reading.by_id]
            if missing:
                reading.by_id.update(await self._read_all(workspace, missing, now_ms))
            return reading.by_id

    async def _read_all(self, workspace: Workspace, rules: Sequence[StoredRule], now_ms: int) -> dict[str, RuleSpend]:
        by_id: dict[str, RuleSpend] = {}
        for start in range(0, len(rules), RULES_AT_ONCE):
            part = [stored.rule for stored in rules[start : start + RULES_AT_ONCE]]
            spends = await self._usage.beside_rules(workspace, part, now_ms)
            by_id.update((rule.id, spend) for rule, spend in zip(part, spends, strict=True))
        return by_id


def by_spend(stored: StoredRule, spend: RuleSpend) -> SortKey:
    """Return the place by what was spent in the window."""
    return spend.counter.spend_nanos, *by_key(stored)


def by_percent(stored: StoredRule, spend: RuleSpend) -> SortKey:
    """Return the place by the share of the limit; what is unlimited has none and comes first."""
    share = percent(spend.counter.spend_nanos, stored.rule.limit_nanos)
    return share is not None, share or 0.0, *by_key(stored)
