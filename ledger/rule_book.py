"""The rule book: all rules of a workspace with who changed them and when. Immutable; a change makes a new one."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final, TypedDict

from ledger.price_parsing import dump_prices, parse_price_book
from ledger.prices import PriceBook
from ledger.rule_changes import NOWHERE, Document, DocumentSwap, RuleChange, RuleDelta, RulePosition, Stamp
from ledger.rule_parsing import dump_rule, dump_workspace, parse_rules, parse_workspace
from ledger.rule_records import decode_record, encode_record
from ledger.rules import EMPTY_RULE_SET, WINDOW_ORDER, Rule, RuleKind, RulePlace, RuleSet, RuleUnknown, Workspace
from ledger.windows import Calendar


class PriceSwap(TypedDict, total=False):
    """The fields of a `RuleEdit` that are about prices."""

    prices: DocumentSwap
    price_versions: tuple[str, str]


_EMPTY: Final[MappingProxyType[str, "StoredRule"]] = MappingProxyType({})


class UndoImpossible(ValueError):
    """The change was a replacement: what stood before is not in it."""


@dataclass(frozen=True, slots=True)
class StoredRule:
    """A rule with its stamp; see `Stamp` for the units."""

    rule: Rule
    revision: int
    created_at_ms: int
    updated_at_ms: int
    updated_by: str

    @property
    def stamp(self) -> Stamp:
        """All but the rule."""
        return Stamp(self.revision, self.created_at_ms, self.updated_at_ms, self.updated_by)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleBook:
    """`entries` by rule id; `settings_revision` is the revision that last changed the workspace or the prices."""

    position: RulePosition
    settings_revision: int
    rules: RuleSet = field(repr=False)
    entries: MappingProxyType[str, StoredRule] = field(repr=False)

    @property
    def epoch(self) -> str:
        """The life of these rules; empty before the first commit."""
        return self.position.epoch

    @property
    def revision(self) -> int:
        """The revision; 0 before the first commit."""
        return self.position.revision

    @property
    def workspace(self) -> Workspace:
        """The settings."""
        return self.rules.workspace

    @property
    def prices(self) -> PriceBook:
        """The price book."""
        return self.rules.prices

    def rule_set(self) -> RuleSet:
        """Return the rules as sidecars use them."""
        return self.rules

    def settings_document(self) -> dict[str, object]:
        """Return the workspace as a document."""
        return dump_workspace(self.workspace)

    def document(self, rule_id: str) -> dict[str, object]:
        """Return a rule as a document, what follows from the workspace left out."""
        return dump_rule(self.entries[rule_id].rule, self.workspace.calendar)

    def apply(self, *changes: RuleChange) -> "RuleBook":
        """Return the book after changes that follow each other. Raises `RuleUnknown` if they are for another book."""
        if not changes:
            return self
        entries, settings_revision = self.entries.copy(), self.settings_revision
        stamps: dict[str, Stamp] = {}
        for change in changes:
            stamps |= {delta.id: change.stamp(delta.was) for delta in change.deltas}
            if change.settings is not None or change.prices is not None:
                settings_revision = change.revision
        rules = _step(self.rules, entries, _merged([_forward(change) for change in changes]), stamps)
        return _book(changes[-1].position, settings_revision, rules, entries)

    def undo(self, *changes: RuleChange) -> "RuleBook":
        """Return the book before changes, given newest first.

        Raises `UndoImpossible` for a replacement, `RuleUnknown` if they are for another book.
        """
        if not changes:
            return self
        entries = self.entries.copy()
        stamps: dict[str, Stamp] = {}
        for change in changes:
            if change.replaced:
                raise UndoImpossible(f"revision {change.revision} replaced the book")
            stamps |= {delta.id: delta.was for delta in change.deltas if delta.was is not None}
        rules = _step(self.rules, entries, _merged([_backward(change) for change in changes]), stamps)
        first = changes[-1]
        return _book(first.stands_on, first.settings_were, rules, entries)


EMPTY_BOOK: Final = RuleBook(position=NOWHERE, settings_revision=0, rules=EMPTY_RULE_SET, entries=_EMPTY)


@dataclass(frozen=True, slots=True, kw_only=True)
class BookImage:
    """A book as it stands in the store: documents, not parsed yet."""

    position: RulePosition
    settings_revision: int
    settings: object
    prices: object
    records: dict[str, bytes | str] = field(repr=False)

    def free(self) -> None:
        """Let go of the records in small steps, which a thread can do without keeping others waiting."""
        while self.records:
            self.records.popitem()

    def with_changes(self, changes: Iterable[RuleChange]) -> "BookImage":
        """Return the image after changes that follow each other."""
        records, image = dict(self.records), self
        for change in changes:
            for delta in change.deltas:
                if delta.after is None:
                    records.pop(delta.id, None)
                else:
                    records[delta.id] = encode_record(delta.after, change.stamp(delta.was))
            image = image.after(change)
        return replace(image, records=records)

    def after(self, change: RuleChange) -> "BookImage":
        """Return the image after a change of everything but the rules."""
        swapped = change.settings is not None or change.prices is not None
        return replace(
            self,
            position=change.position,
            settings_revision=change.revision if swapped else self.settings_revision,
            settings=self.settings if change.settings is None else change.settings.after,
            prices=self.prices if change.prices is None else change.prices.after,
        )

    def rule_set(self) -> RuleSet:
        """Return the rules without their stamps. Raises `RuleSetInvalid` with paths such as ``rule-1a2b.key``."""
        return self._parse((rule_id, decode_record(rule_id, text)[0]) for rule_id, text in self.records.items())

    def book(self) -> RuleBook:
        """Return the whole book; raises as `rule_set`."""
        stamps: dict[str, Stamp] = {}

        def documents() -> Iterator[tuple[str, object]]:
            for rule_id, text in self.records.items():
                document, stamps[rule_id] = decode_record(rule_id, text)
                yield rule_id, document

        rules = self._parse(documents())
        entries = {rule.id: _stored(rule, stamps[rule.id]) for rule in rules.rules}
        return _book(self.position, self.settings_revision, rules, entries)

    def _parse(self, documents: Iterable[tuple[str, object]]) -> RuleSet:
        workspace = parse_workspace(self.settings)
        return RuleSet.of(
            revision=self.position.revision,
            workspace=workspace,
            rules=in_window_order(parse_rules(documents, workspace.calendar)),
            prices=parse_price_book(self.prices),
        )


def in_window_order(rules: list[Rule]) -> list[Rule]:
    """Return the rules by window: days, weeks, months. Pass by pass, because a sort keeps the interpreter."""
    return [rule for window in WINDOW_ORDER for rule in rules if rule.window is window]


def apply_to_rules(rules: RuleSet, *changes: RuleChange) -> RuleSet:
    """Return a rule set after changes, without a book around it. Raises as `RuleBook.apply`."""
    return _step(rules, None, _merged([_forward(change) for change in changes]), {})


def changes_calendar(change: RuleChange) -> bool:
    """Say whether every rule that follows the workspace's calendar changes with it, which takes long for very many."""
    if change.settings is None:
        return False
    return parse_workspace(change.settings.before).calendar != parse_workspace(change.settings.after).calendar


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """What to do to a book, in either direction: for each rule id the document that goes and the one that comes."""

    revision: int
    pairs: Mapping[str, tuple[Document | None, Document | None]]
    settings: DocumentSwap | None
    prices: DocumentSwap | None


def _forward(change: RuleChange) -> _Step:
    pairs = {delta.id: (delta.before, delta.after) for delta in change.deltas}
    return _Step(revision=change.revision, pairs=pairs, settings=change.settings, prices=change.prices)


def _backward(change: RuleChange) -> _Step:
    pairs = {delta.id: (delta.after, delta.before) for delta in change.deltas}
    settings, prices = _reversed(change.settings), _reversed(change.prices)
    return _Step(revision=change.revision - 1, pairs=pairs, settings=settings, prices=prices)


def _reversed(swap: DocumentSwap | None) -> DocumentSwap | None:
    return None if swap is None else DocumentSwap(swap.after, swap.before)


def _merged(steps: list[_Step]) -> _Step:
    """Return one step that does what several do: each copy of a large index counts.

    A document that names no calendar follows the workspace's through all of them, so the last one's is right for it.
    """
    if len(steps) == 1:
        return steps[0]
    pairs: dict[str, tuple[Document | None, Document | None]] = {}
    for step in steps:
        for rule_id, (gone, come) in step.pairs.items():
            first = pairs[rule_id][0] if rule_id in pairs else gone
            pairs[rule_id] = (first, come)
    return _Step(
        revision=steps[-1].revision,
        pairs=pairs,
        settings=_merged_swaps([step.settings for step in steps]),
        prices=_merged_swaps([step.prices for step in steps]),
    )


def _merged_swaps(swaps: list[DocumentSwap | None]) -> DocumentSwap | None:
    made = [swap for swap in swaps if swap is not None]
    return DocumentSwap(made[0].before, made[-1].after) if made else None


def _step(rules: RuleSet, entries: dict[str, StoredRule] | None, step: _Step, stamps: Mapping[str, Stamp]) -> RuleSet:
    """Return the rules after a step, and bring `entries` there too."""
    workspace = rules.workspace if step.settings is None else parse_workspace(step.settings.after)
    prices = rules.prices if step.prices is None else parse_price_book(step.prices.after)
    if workspace.calendar != rules.workspace.calendar:
        rules = _recalendared(rules, workspace)
        for rule in rules.rules if entries is not None else ():
            _put_rule(entries, rule)
    come = [(rule_id, after) for rule_id, (_, after) in step.pairs.items() if after is not None]
    added = parse_rules(come, workspace.calendar)
    changed = rules.changed(
        revision=step.revision,
        removed=[_place(rule_id, gone) for rule_id, (gone, _) in step.pairs.items() if gone is not None],
        added=added,
        workspace=workspace,
        prices=prices,
    )
    if entries is not None:
        for rule_id, (gone, after) in step.pairs.items():
            if after is None and gone is not None:
                del entries[rule_id]
        for rule in added:
            entries[rule.id] = _stored(rule, stamps[rule.id])
    return changed


def _put_rule(entries: dict[str, StoredRule] | None, rule: Rule) -> None:
    if entries is not None:
        entries[rule.id] = replace(entries[rule.id], rule=rule)


def _recalendared(rules: RuleSet, workspace: Workspace) -> RuleSet:
    """Return a rule set of other settings, in which every rule with the workspace's calendar has the new one."""
    old, new = rules.workspace.calendar, workspace.calendar
    moved = [replace(rule, calendar=new) if rule.calendar == old else rule for rule in rules.rules]
    return RuleSet.of(revision=rules.revision, workspace=workspace, rules=moved, prices=rules.prices)


def _place(rule_id: str, document: Document) -> RulePlace:
    try:
        return RulePlace(RuleKind(str(document["kind"])), str(document["key"]), rule_id)
    except (KeyError, ValueError) as error:
        raise RuleUnknown(f"the change of {rule_id} does not tell what it was") from error


def _stored(rule: Rule, stamp: Stamp) -> StoredRule:
    return StoredRule(rule, stamp.revision, stamp.created_at_ms, stamp.updated_at_ms, stamp.updated_by)


def _book(position: RulePosition, settings_revision: int, rules: RuleSet, entries: dict[str, StoredRule]) -> RuleBook:
    return RuleBook(
        position=position, settings_revision=settings_revision, rules=rules, entries=MappingProxyType(entries)
    )


def delta_between(
    rule_id: str, before: StoredRule | None, after: Rule | None, calendars: tuple[Calendar, Calendar]
) -> RuleDelta | None:
    """Return the delta that makes `after` of `before`, None if their documents are alike.

    `calendars` are the workspace's before and after the change.
    """
    old = None if before is None else dump_rule(before.rule, calendars[0])
    new = None if after is None else dump_rule(after, calendars[1])
    if old == new:
        return None
    return RuleDelta(id=rule_id, before=old, after=new, was=None if before is None else before.stamp)


def price_documents(book: PriceBook) -> object:
    """Return prices as they stand in the store."""
    return dump_prices(book)


def price_swap(before: PriceBook, after: PriceBook) -> PriceSwap:
    """Return what an edit says of prices: nothing if they are alike."""
    if before == after:
        return {}
    return {
        "prices": DocumentSwap(price_documents(before), price_documents(after)),
        "price_versions": (before.version, after.version),
    }


def deltas_between(book: RuleBook, rules: Iterable[Rule], workspace: Workspace) -> tuple[RuleDelta, ...]:
    """Return the deltas that make `rules`, complete and with their ids, of a book's."""
    calendars = (book.workspace.calendar, workspace.calendar)
    wanted = {rule.id: rule for rule in rules}
    ids = [*book.entries, *(rule_id for rule_id in wanted if rule_id not in book.entries)]
    deltas = (delta_between(rule_id, book.entries.get(rule_id), wanted.get(rule_id), calendars) for rule_id in ids)
    return tuple(delta for delta in deltas if delta is not None)
