"""What was spent beside every rule of a kind, for lists sorted by it: read as a whole, kept for some seconds.

Spend changes with every call, so no order of it can be kept up; reading 100,000 counters takes the store and this
process seconds. So a reading serves everybody for at least 5 seconds, and for four times as long as it took.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from controlplane.rule_index import SortKey, by_key
from controlplane.usage import RuleSpend, UsageReader
from ledger.rule_book import RuleBook, StoredRule
from ledger.rule_changes import NOWHERE, RulePosition
from ledger.rules import Workspace
from ledger.wire import percent

KEPT_S: Final = 5.0
KEPT_TIMES: Final = 4
RULES_AT_ONCE: Final = 1000


@dataclass(slots=True)
class _Reading:
    """Spend by rule id, and the orders made of it, for the book that they were made for."""

    by_id: dict[str, RuleSpend]
    until_s: float
    position: RulePosition = NOWHERE
    orders: dict[str, list[SortKey]] = field(default_factory=dict)


class SpendOrder:
    """Reads and keeps spend. `clock` is monotonic, in seconds."""

    def __init__(self, usage: UsageReader, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._usage = usage
        self._clock = clock
        self._reading: _Reading | None = None
        self._turn = asyncio.Lock()

    async def order(self, sort: str, book: RuleBook, rules: Sequence[StoredRule], now_ms: int) -> list[SortKey]:
        """Return the places of a book's rules by spend some seconds old at most; raises `StoreUnavailable`."""
        async with self._turn:
            reading = await self._current(book.workspace, rules, now_ms)
            if reading.position != book.position:
                reading.position, reading.orders = book.position, {}
            order = reading.orders.get(sort)
            if order is None:
                place_of = SPEND_SORTS[sort]
                places = (place_of(stored, reading.by_id[stored.rule.id]) for stored in rules)
                order = reading.orders[sort] = await asyncio.to_thread(sorted, places)
            return order

    async def _current(self, workspace: Workspace, rules: Sequence[StoredRule], now_ms: int) -> _Reading:
        """Return a reading that is young enough, with the rules that are new since then."""
        reading = self._reading
        if reading is None or self._clock() >= reading.until_s:
            started_s = self._clock()
            by_id = await self._read_all(workspace, rules, now_ms)
            took_s = self._clock() - started_s
            self._reading = reading = _Reading(by_id, self._clock() + max(KEPT_S, KEPT_TIMES * took_s))
        missing = [stored for stored in rules if stored.rule.id not in reading.by_id]
        if missing:
            reading.by_id.update(await self._read_all(workspace, missing, now_ms))
        return reading

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


SPEND_SORTS: Final[Mapping[str, Callable[[StoredRule, RuleSpend], SortKey]]] = {
    "spend": by_spend,
    "percent": by_percent,
}
