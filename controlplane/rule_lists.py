"""Lists of rules: searched, filtered, sorted and paged over the index, with spend for the rows that are shown."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from controlplane.rule_index import IndexedRule, RuleIndex, RuleSort, SortKey, page_of
from controlplane.rule_rows import RuleState, rule_row, state_of
from controlplane.spend_order import SPEND_SORTS, SpendOrder
from controlplane.usage import RuleSpend, UsageReader
from ledger.errors import StoreUnavailable
from ledger.rule_book import RuleBook, StoredRule
from ledger.rules import Action, RuleKind
from ledger.spend_reader import SpendReader
from ledger.windows import WindowType

SORTS: Final = (*(str(sort) for sort in RuleSort), *SPEND_SORTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleFilter:
    """Which rules are wanted; an empty set wants all. `text` is part of the key or the note, in any case."""

    text: str = ""
    states: frozenset[str] = frozenset()
    actions: frozenset[str] = frozenset()
    windows: frozenset[str] = frozenset()

    @property
    def wants_all(self) -> bool:
        """Say whether nothing is filtered."""
        return self == EVERY_RULE


EVERY_RULE: Final = RuleFilter()


@dataclass(frozen=True, slots=True, kw_only=True)
class RulePage:
    """Rows in the order asked for. `last` is the place behind which the next page starts, None at the end.

    `has_spend` is False when the store did not answer, and what was spent is null in every row.
    """

    rows: list[dict[str, Any]]
    last: SortKey | None
    total: int
    revision: int
    at_ms: int
    has_spend: bool


class RuleLists:
    """The rules of one kind as lists. `book` is asked for each list."""

    def __init__(self, kind: RuleKind, *, book: Callable[[], RuleBook], spend: SpendReader, usage: UsageReader) -> None:
        self.kind = kind
        self._book = book
        self._spend = spend
        self._usage = usage
        self._index = RuleIndex(kind)
        self._spend_order = SpendOrder(usage)

    async def page(
        self, wanted: RuleFilter, *, sort: str, descending: bool, after: SortKey | None, limit: int
    ) -> RulePage:
        """Return a page. Raises `StoreUnavailable` only for what is sorted by spend or percent."""
        now_ms = await self._now_ms(must_answer=sort in SPEND_SORTS)
        book = self._book()
        places = await self._places(book, wanted, sort, now_ms)
        page, has_more = page_of(places, after=after, limit=limit, descending=descending)
        entries = [book.entries[place[-1]] for place in page if place[-1] in book.entries]
        spends = await self._beside(book, entries, now_ms)
        return RulePage(
            rows=self._rows(book, entries, spends, now_ms),
            last=page[-1] if has_more else None,
            total=len(places),
            revision=book.revision,
            at_ms=now_ms,
            has_spend=spends is not None,
        )

    async def row(self, stored: StoredRule) -> dict[str, Any]:
        """Return the row of one rule."""
        now_ms, book = await self._now_ms(must_answer=False), self._book()
        spends = await self._beside(book, [stored], now_ms)
        return self._rows(book, [stored], spends, now_ms)[0]

    def in_order(self) -> list[StoredRule]:
        """Return all rules by key, without what was spent."""
        self._index.move_to(self._book())
        return [self._index.rules[place[-1]].stored for place in self._index.order(RuleSort.KEY)]

    async def _places(self, book: RuleBook, wanted: RuleFilter, sort: str, now_ms: int) -> list[SortKey]:
        self._index.move_to(book)
        rules = self._index.rules
        if sort in SPEND_SORTS:
            every = [entry.stored for entry in rules.values()]
            order = await self._spend_order.order(sort, book, every, now_ms)
        else:
            order = self._index.order(RuleSort(sort))
        if wanted.wants_all:
            return order
        chosen = {entry.stored.rule.id for entry in matching(rules.values(), wanted, now_ms)}
        return [place for place in order if place[-1] in chosen]

    async def _beside(self, book: RuleBook, entries: Sequence[StoredRule], now_ms: int) -> Sequence[RuleSpend] | None:
        try:
            return await self._usage.beside_rules(book.workspace, [stored.rule for stored in entries], now_ms)
        except StoreUnavailable:
            return None

    async def _now_ms(self, *, must_answer: bool) -> int:
        """Return the store's time; this machine's where the store is silent and a list is useful all the same."""
        try:
            return await self._spend.store_time_ms()
        except StoreUnavailable:
            if must_answer:
                raise
            return round(time.time() * 1000)

    @staticmethod
    def _rows(
        book: RuleBook, entries: Sequence[StoredRule], spends: Sequence[RuleSpend] | None, now_ms: int
    ) -> list[dict[str, Any]]:
        beside = [None] * len(entries) if spends is None else spends
        return [rule_row(stored, book.workspace, now_ms, spend) for stored, spend in zip(entries, beside, strict=True)]


def matching(rules: Iterable[IndexedRule], wanted: RuleFilter, now_ms: int) -> list[IndexedRule]:
    """Return the rules that a filter wants, one condition after the other, the cheapest first."""
    found = list(rules)
    if wanted.text:
        text = wanted.text.casefold()
        found = [entry for entry in found if text in entry.text]
    if wanted.actions:
        actions = {Action(word) for word in wanted.actions}
        found = [entry for entry in found if entry.stored.rule.action in actions]
    if wanted.windows:
        windows = {WindowType(word) for word in wanted.windows}
        found = [entry for entry in found if entry.stored.rule.window in windows]
    if wanted.states:
        states = {RuleState(word) for word in wanted.states}
        found = [entry for entry in found if state_of(entry.stored.rule, now_ms) in states]
    return found
