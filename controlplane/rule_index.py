"""The rules of one kind in the orders that lists are read in, kept up with the book at the price of what changed.

An order is a sorted list of tuples that end in the rule's id, so that a page starts with one bisection, and a cursor is
the tuple of the last row.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from ledger.rule_book import EMPTY_BOOK, RuleBook, StoredRule
from ledger.rules import WINDOW_ORDER, RuleKind

MOVED_ONE_BY_ONE: Final = 500
"""So many changed rules are moved within the orders; more of them are sorted anew."""

SortKey = tuple[Any, ...]


class RuleSort(StrEnum):
    """What lists can be sorted by without asking the store."""

    KEY = "key"
    LIMIT = "limit"
    UPDATED = "updated"


@dataclass(frozen=True, slots=True)
class IndexedRule:
    """A stored rule, and the text that searches look through: key and note, in any case."""

    stored: StoredRule
    text: str


def by_key(stored: StoredRule) -> SortKey:
    """Return the place by key, in any case first, then by window."""
    rule = stored.rule
    return rule.key.casefold(), rule.key, WINDOW_ORDER[rule.window], rule.id


def by_limit(stored: StoredRule) -> SortKey:
    """Return the place by limit; unlimited is the highest one."""
    limit = stored.rule.limit_nanos
    return limit is None, limit or 0, *by_key(stored)


def by_update(stored: StoredRule) -> SortKey:
    """Return the place by the last change."""
    return stored.updated_at_ms, *by_key(stored)


PLACES: Final[Mapping[RuleSort, Callable[[StoredRule], SortKey]]] = {
    RuleSort.KEY: by_key,
    RuleSort.LIMIT: by_limit,
    RuleSort.UPDATED: by_update,
}


class RuleIndex:
    """The rules of one kind of a book; see `move_to`. An order that nobody asked for is not kept."""

    def __init__(self, kind: RuleKind) -> None:
        self._kind = kind
        self._book = EMPTY_BOOK
        self.rules: dict[str, IndexedRule] = {}
        self._orders: dict[RuleSort, list[SortKey]] = {}

    def move_to(self, book: RuleBook) -> None:
        """Hold what a book has. Comparing 100,000 entries takes milliseconds; only what differs is touched."""
        if book is self._book:
            return
        old, new = self._book.entries, book.entries
        gone = [rule_id for rule_id in old if rule_id not in new] if len(old) else []
        come = [stored for rule_id, stored in new.items() if old.get(rule_id) is not stored]
        self._book = book
        if len(gone) + len(come) > MOVED_ONE_BY_ONE:
            self._orders.clear()
        for rule_id in gone:
            self._remove(rule_id)
        for stored in come:
            self._remove(stored.rule.id)
            if stored.rule.kind is self._kind:
                self._add(stored)

    def order(self, sort: RuleSort) -> list[SortKey]:
        """Return the places of all rules in ascending order; each ends in the rule's id. Not to be changed."""
        order = self._orders.get(sort)
        if order is None:
            place = PLACES[sort]
            order = sorted(place(rule.stored) for rule in self.rules.values())
            self._orders[sort] = order
        return order

    def _remove(self, rule_id: str) -> None:
        known = self.rules.pop(rule_id, None)
        if known is None:
            return
        for sort, order in self._orders.items():
            place = PLACES[sort](known.stored)
            del order[bisect_left(order, place)]

    def _add(self, stored: StoredRule) -> None:
        rule = stored.rule
        self.rules[rule.id] = IndexedRule(stored, f"{rule.key}\n{rule.note}".casefold())
        for sort, order in self._orders.items():
            insort(order, PLACES[sort](stored))


def page_of(order: list[SortKey], *, after: SortKey | None, limit: int, descending: bool) -> tuple[list[SortKey], bool]:
    """Return the places of a page behind `after`, and whether there are more."""
    if descending:
        end = len(order) if after is None else bisect_left(order, after)
        start = max(0, end - limit)
        return order[start:end][::-1], start > 0
    start = 0 if after is None else bisect_right(order, after)
    return order[start : start + limit], start + limit < len(order)
