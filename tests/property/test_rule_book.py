"""The rule book under any edits: deltas give what a full reload gives, and undoing gives what was before."""

from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.rule_edits import creation, deletion, new_rule_id, settings_edit, update
from controlplane.rule_errors import RuleExists
from controlplane.rule_imports import document_edit, overrides_edit, restore_edit
from ledger.rule_book import EMPTY_BOOK, BookImage, RuleBook, apply_to_rules
from ledger.rule_changes import NOWHERE, ChangeKind, RuleChange, RuleDelta, RuleEdit
from ledger.rule_commit import change_of
from ledger.rule_records import decode_entry, encode_entry
from ledger.rules import EMPTY_RULE_SET, RuleKind, RuleSet

ZONES = ("UTC", "Asia/Tokyo", "Europe/Berlin")
PRICE = {"model": "m", "output_usd_per_million": 1}

zones = st.sampled_from(ZONES)
terms = st.fixed_dictionaries(
    {
        "key": st.sampled_from(("ada", "eve", "{x}", 'a"b')),
        "limit_usd": st.none() | st.integers(0, 3),
        "window": st.sampled_from(("day", "week", "month")),
        "action": st.sampled_from(("warn", "block", "dry_run")),
    },
    optional={"timezone": zones, "note": st.just("n"), "on_unpriced": st.just({"charge_usd": 1})},
)
kinds = st.sampled_from(list(RuleKind))
workspaces = st.fixed_dictionaries({}, optional={"timezone": zones, "mode": st.sampled_from(("enforce", "stop"))})
rules = st.builds(lambda kind, rule: {"kind": str(kind), **rule}, kinds, terms)
documents = st.fixed_dictionaries(
    {"rules": st.lists(rules, max_size=4, unique_by=lambda rule: (rule["kind"], rule["key"], rule["window"]))},
    optional={
        "workspace": workspaces,
        "prices": st.lists(
            st.builds(lambda usd: {**PRICE, "input_usd_per_million": usd}, st.integers(1, 2)), max_size=1
        ),
    },
)
overrides = st.lists(terms, max_size=3, unique_by=lambda rule: (rule["key"], rule["window"]))
steps = st.one_of(
    st.tuples(st.just("create"), kinds, terms),
    st.tuples(st.just("update"), st.integers(0, 9), terms),
    st.tuples(st.just("delete"), st.integers(0, 9), st.none()),
    st.tuples(st.just("settings"), workspaces, st.none()),
    st.tuples(st.just("import"), documents, st.none()),
    st.tuples(st.just("merge"), overrides, st.none()),
    st.tuples(st.just("restore"), st.integers(0, 9), st.none()),
)


@dataclass
class Trail:
    """A book, every book before it, and the changes between them as a reader of the store has them."""

    books: list[RuleBook] = field(default_factory=lambda: [EMPTY_BOOK])
    changes: list[RuleChange] = field(default_factory=list)

    @property
    def book(self) -> RuleBook:
        """The newest book."""
        return self.books[-1]

    def take(self, step: tuple[str, Any, Any]) -> None:
        """Do what a step says, if it is possible and changes something."""
        edit = self._edit(*step)
        if edit is None or edit.is_empty:
            return
        change = change_of(edit, self.book, at_ms=1000 + len(self.changes))
        self.books.append(self.book.apply(change))
        self.changes.append(_as_read(change))

    def _edit(self, name: str, first: Any, second: Any) -> RuleEdit | None:
        if name == "settings":
            return settings_edit(self.book, first, expected_revision=None, actor="ada", note="")
        if name == "import":
            return document_edit(self.book, first, actor="ada", note="")
        if name == "merge":
            return overrides_edit(self.book, first, actor="ada", note="")
        if name == "restore":
            return restore_edit(self.book, self.books[first % len(self.books)], actor="ada", note="")
        deltas = self._deltas(name, first, second)
        return RuleEdit(kind=ChangeKind.EDIT, actor="ada", deltas=deltas)

    def _deltas(self, name: str, first: Any, second: Any) -> tuple[RuleDelta, ...]:
        if name == "create":
            return _or_none(lambda: creation(self.book, new_rule_id(), second, first))
        if not self.book.entries:
            return ()
        rule_id = sorted(self.book.entries)[first % len(self.book.entries)]
        if name == "update":
            return _or_none(lambda: update(self.book, rule_id, second, None))
        return deletion(self.book, rule_id, None)


def _or_none(make: Any) -> Any:
    try:
        return make()
    except RuleExists:
        return ()


def _as_read(change: RuleChange) -> RuleChange:
    """Return a change as it comes out of the store."""
    stored = {
        "epoch": change.position.epoch,
        "tip": change.position.tip,
        "parent": change.parent,
        **dict(encode_entry(change)),
    }
    fields = {name.encode(): str(value).encode() for name, value in stored.items()}
    return decode_entry((f"{change.revision}-0".encode(), fields))


def _trail(taken: list[tuple[str, Any, Any]]) -> Trail:
    trail = Trail()
    for step in taken:
        trail.take(step)
    return trail


def _image(changes: list[RuleChange]) -> BookImage:
    empty = BookImage(position=NOWHERE, settings_revision=0, settings=None, prices=None, records={})
    return empty.with_changes(changes)


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=12))
def test_a_reload_gives_what_the_deltas_gave(taken: list[tuple[str, Any, Any]]) -> None:
    """The book that changes made one by one is the one read from the store's documents at once."""
    trail = _trail(taken)

    assert trail.book == _image(trail.changes).book()


@settings(max_examples=100, deadline=None)
@given(st.lists(steps, max_size=12))
def test_a_sidecar_has_the_rules_of_the_book(taken: list[tuple[str, Any, Any]]) -> None:
    """The rules that follow change by change, or all changes at once, are those of the control plane."""
    trail = _trail(taken)
    one_by_one: RuleSet = EMPTY_RULE_SET
    for change in trail.changes:
        one_by_one = apply_to_rules(one_by_one, change)
    at_once = apply_to_rules(EMPTY_RULE_SET, *trail.changes) if trail.changes else EMPTY_RULE_SET

    assert (trail.book.rule_set(), trail.book.rule_set()) == (one_by_one, at_once)
    assert trail.book.rule_set().count == len(trail.book.entries) == len(one_by_one.rules)


@settings(max_examples=100, deadline=None)
@given(st.lists(steps, max_size=12), st.integers(0, 12))
def test_applied_at_once_or_one_by_one_is_the_same(taken: list[tuple[str, Any, Any]], start: int) -> None:
    """A reader that lags and takes many changes together has the same book, stamps included."""
    trail = _trail(taken)
    start = min(start, len(trail.changes))

    assert trail.book == trail.books[start].apply(*trail.changes[start:])


@settings(max_examples=150, deadline=None)
@given(st.lists(steps, max_size=12), st.integers(0, 12))
def test_undoing_gives_the_book_as_it_was(taken: list[tuple[str, Any, Any]], start: int) -> None:
    """Backwards through the trail each book comes back with its stamps, settings, prices and position."""
    trail = _trail(taken)
    start = min(start, len(trail.changes))

    assert trail.books[start] == trail.book.undo(*reversed(trail.changes[start:]))
