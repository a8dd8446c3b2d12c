"""The registry: the rules of a workspace as the control plane shows and changes them.

Every change is checked against the book at hand and committed on it; if the store stands elsewhere by then, the
registry catches up and checks anew, so that of two operators the second is told.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Final, TypeVar

from controlplane.rule_edits import creation, deletion, new_rule_id, prices_edit, settings_edit, update
from controlplane.rule_errors import PreconditionFailed, RuleExists, RuleNotFound
from controlplane.rule_imports import (
    ImportDiff,
    ImportResult,
    check_revision,
    diff_of,
    document_edit,
    overrides_edit,
    restore_edit,
)
from ledger.bulk_work import BULK_RULES, bulk_work
from ledger.errors import RevisionConflict
from ledger.names import parse_name
from ledger.rule_book import EMPTY_BOOK, BookImage, RuleBook, StoredRule
from ledger.rule_changes import ChangeKind, RuleChange, RuleDelta, RuleEdit, RulePosition
from ledger.rule_feed import RuleFeed
from ledger.rule_fields import parse_note
from ledger.rule_store import RuleStore, parsed
from ledger.rules import RuleKind

MAX_ATTEMPTS: Final = 10
INLINE_DELTAS: Final = 50
"""A change of more rules is applied in a thread."""

Listener = Callable[[RuleBook], None]
T = TypeVar("T")

log = logging.getLogger("spendgate.rules")


class Registry:
    """Holds the book and changes it. `run` follows the store in the background; without it only own changes show.

    Writes raise `RuleSetInvalid` with every fault, `PlanRequired` below plan growth, `StoreUnavailable` if whether
    the change was done is unknown, and `RevisionConflict` if others change the rules faster than this one can.
    """

    def __init__(self, store: RuleStore) -> None:
        self.book = EMPTY_BOOK
        self.is_loaded = False
        self._store = store
        self._held = _HeldBook(self)
        self._feed = RuleFeed(store, self._held, on_contact=self._met_store)
        self._listeners: list[Listener] = []

    def on_change(self, listener: Listener) -> None:
        """Call `listener` with each new book, right after it is `book`; it must be quick and not raise."""
        self._listeners.append(listener)

    async def load(self) -> None:
        """Bring the book to what the store has now. Raises `StoreUnavailable`, `RuleSetInvalid`."""
        await self._feed.catch_up()

    async def run(self) -> None:
        """Follow the store until cancelled, whatever becomes of it."""
        await self._feed.run()

    async def create(self, document: Mapping[str, object], *, kind: RuleKind, actor: str, note: str = "") -> StoredRule:
        """Add a rule under a new id. Raises `RuleExists` if its key has a rule for that window."""
        rule_id = new_rule_id()
        book = await self._edit(lambda book: creation(book, rule_id, document, kind), actor, note)
        return book.entries[rule_id]

    async def update(
        self,
        rule_id: str,
        document: Mapping[str, object],
        *,
        expected_rule_revision: int | None,
        actor: str,
        note: str = "",
    ) -> StoredRule:
        """Put a whole document in the place of a rule; without a difference nothing is committed.

        Raises `RuleNotFound`, `PreconditionFailed` with the rule as it is now, `RuleExists`.
        """
        book = await self._edit(lambda book: update(book, rule_id, document, expected_rule_revision), actor, note)
        return book.entries[rule_id]

    async def delete(self, rule_id: str, *, expected_rule_revision: int | None, actor: str, note: str = "") -> None:
        """Remove a rule. Raises `RuleNotFound`, `PreconditionFailed` with the rule as it is now."""
        await self._edit(lambda book: deletion(book, rule_id, expected_rule_revision), actor, note)

    async def put_settings(
        self, document: object, *, expected_revision: int | None, actor: str, note: str = ""
    ) -> RuleBook:
        """Put a whole `workspace` in the place of the settings, on every plan; return the book with it.

        `expected_revision` is that of the settings. Raises `PreconditionFailed`.
        """
        actor, note = _checked(actor, note)

        def make(book: RuleBook) -> RuleEdit:
            return settings_edit(book, document, expected_revision=expected_revision, actor=actor, note=note)

        book, _ = await self._commit(make, is_bulk=True)
        return book

    async def put_prices(
        self, document: object, *, expected_revision: int | None, actor: str, note: str = ""
    ) -> RuleBook:
        """Put a price book in the place of the prices, on every plan; return the book with it.

        `expected_revision` is that of the rules. Raises `PreconditionFailed`.
        """
        actor, note = _checked(actor, note)

        def make(book: RuleBook) -> RuleEdit:
            check_revision(book, expected_revision)
            return prices_edit(book, document, actor=actor, note=note)

        book, _ = await self._commit(make, is_bulk=True, at_least=BULK_RULES)
        return book

    async def import_document(
        self, document: object, *, expected_revision: int | None, actor: str, note: str = ""
    ) -> ImportResult:
        """Make the rules what a whole document says; see `document_edit`. Raises `PreconditionFailed`."""
        actor, note = _checked(actor, note)

        def make(book: RuleBook) -> RuleEdit:
            check_revision(book, expected_revision)
            return document_edit(book, document, actor=actor, note=note)

        book, edit = await self._commit(make, is_bulk=True)
        return _result(book, edit, len(book.entries))

    async def preview_import(self, document: object) -> ImportDiff:
        """Tell what `import_document` would do; raises what it would."""
        book = await self._current()
        edit = await _in_thread(partial(document_edit, book, document, actor="preview", note=""), len(book.entries))
        return diff_of(book, edit, len(book.entries) - sum(delta.before is not None for delta in edit.deltas))

    async def merge_overrides(
        self,
        documents: Sequence[Mapping[str, object]],
        *,
        expected_revision: int | None,
        actor: str,
        note: str = "",
    ) -> ImportResult:
        """Add or change many overrides; see `overrides_edit`. Raises `PreconditionFailed`."""
        actor, note = _checked(actor, note)

        def make(book: RuleBook) -> RuleEdit:
            check_revision(book, expected_revision)
            return overrides_edit(book, documents, actor=actor, note=note)

        book, edit = await self._commit(make, is_bulk=True)
        return _result(book, edit, len(documents))

    async def preview_overrides(self, documents: Sequence[Mapping[str, object]]) -> ImportDiff:
        """Tell what `merge_overrides` would do; raises what it would."""
        book = await self._current()
        edit = await _in_thread(partial(overrides_edit, book, documents, actor="preview", note=""), len(documents))
        return diff_of(book, edit, len(documents) - len(edit.deltas))

    async def restore(self, revision: int, *, actor: str, note: str = "") -> ImportResult:
        """Make rules, settings and prices what they were in a revision, as a new one. Raises `HistoryGone`."""
        actor, note = _checked(actor, note)
        target = await self._store.book_at(revision)
        book, edit = await self._commit(
            lambda book: restore_edit(book, target, actor=actor, note=note or f"back to revision {revision}"),
            is_bulk=True,
        )
        return _result(book, edit, len(book.entries))

    async def history(self, before_revision: int | None = None, limit: int = 50) -> list[RuleChange]:
        """Return the trail, newest first."""
        return await self._store.history(before_revision, limit)

    async def book_at(self, revision: int) -> RuleBook:
        """Return the book as it stood in a revision. Raises `HistoryGone`, `InvalidInput`."""
        return await self._store.book_at(revision)

    async def _edit(self, deltas: Callable[[RuleBook], tuple[RuleDelta, ...]], actor: str, note: str) -> RuleBook:
        actor, note = _checked(actor, note)

        def make(book: RuleBook) -> RuleEdit:
            return RuleEdit(kind=ChangeKind.EDIT, actor=actor, note=note, deltas=deltas(book))

        book, _ = await self._commit(make)
        return book

    async def _commit(
        self, make: Callable[[RuleBook], RuleEdit], *, is_bulk: bool = False, at_least: int = 0
    ) -> tuple[RuleBook, RuleEdit]:
        """Commit what `make` makes of the book at hand, anew for each book; return the book with it, and the edit.

        An edit that `is_bulk` is as much work as the book has rules, or as `at_least` so many.
        """
        book = await self._current()
        for _ in range(MAX_ATTEMPTS):
            try:
                rules = max(at_least, len(book.entries))
                edit = await _in_thread(partial(make, book), rules) if is_bulk else make(book)
                if edit.is_empty:
                    return book, edit
                change = await self._store.commit(edit, book)
            except (RevisionConflict, PreconditionFailed, RuleNotFound, RuleExists):
                # Perhaps the book at hand was behind the store, and what was refused is right.
                await self._feed.catch_up()
                if self.book.position == book.position:
                    raise
                book = self.book
                continue
            return await self._adopt(book, change), edit
        raise RevisionConflict("others change the rules all the time; try again", revision=self.book.revision)

    async def _adopt(self, book: RuleBook, change: RuleChange) -> RuleBook:
        """Make a change of our own visible here, unless the feed did already."""
        if len(change.deltas) > INLINE_DELTAS or change.swaps:
            after = await _in_thread(partial(book.apply, change), _work(book, change))
        else:
            after = book.apply(change)
        async with self._feed.turn:
            if self.book.position == book.position:
                self.hold(after)
        return after

    async def _current(self) -> RuleBook:
        if not self.is_loaded:
            await self.load()
        return self.book

    def _met_store(self) -> None:
        self.is_loaded = True

    def hold(self, book: RuleBook) -> None:
        """Make a book the current one and tell it."""
        self.book = book
        for listener in self._listeners:
            listener(book)


class _HeldBook:
    """A registry's book as the feed changes it; see `ledger.rule_feed.Holder`."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    @property
    def position(self) -> RulePosition:
        return self._registry.book.position

    async def apply(self, changes: list[RuleChange]) -> None:
        book = self._registry.book
        count = sum(len(change.deltas) for change in changes)
        if count > INLINE_DELTAS or any(change.swaps for change in changes):
            self._registry.hold(await _in_thread(partial(book.apply, *changes), _work(book, *changes)))
        else:
            self._registry.hold(book.apply(*changes))

    async def replace(self, image: BookImage) -> None:
        old = self._registry.book
        if image.position == old.position:
            return
        if old.revision > image.position.revision:
            log.error(
                "the store went back from revision %d to %d: it lost rules; restore them from a backup or an export",
                old.revision,
                image.position.revision,
            )
        self._registry.hold(await parsed(image, BookImage.book))


def _work(book: RuleBook, *changes: RuleChange) -> int:
    """Return how many rules' work changes of a book are; prices are many objects too."""
    has_prices = any(change.prices is not None for change in changes)
    return max(len(book.entries), BULK_RULES if has_prices else 0)


async def _in_thread(work: Callable[[], T], rules: int) -> T:
    """Do in a thread what may concern so many rules, so that the loop goes on."""

    def calmly() -> T:
        with bulk_work() if rules >= BULK_RULES else nullcontext():
            return work()

    return await asyncio.to_thread(calmly)


def _checked(actor: str, note: str) -> tuple[str, str]:
    return parse_name(actor, field="actor"), parse_note(note, field="change_note")


def _result(book: RuleBook, edit: RuleEdit, considered: int) -> ImportResult:
    added = sum(delta.before is None for delta in edit.deltas)
    removed = sum(delta.after is None for delta in edit.deltas)
    changed = len(edit.deltas) - added - removed
    return ImportResult(
        revision=book.revision, added=added, changed=changed, removed=removed, unchanged=considered - added - changed
    )
