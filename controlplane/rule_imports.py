"""Changes of many rules at once, made for a book: whole documents, overrides from a list, an earlier revision."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from controlplane.rule_edits import new_rule_id, require_plan, rule_at, settings_swap
from controlplane.rule_errors import PreconditionFailed, TooManyRules
from ledger.errors import RuleSetInvalid
from ledger.rule_book import RuleBook, delta_between, deltas_between, price_swap
from ledger.rule_changes import ChangeKind, DocumentSwap, RuleDelta, RuleEdit
from ledger.rule_parsing import MAX_RULES, parse_rule_set, parse_rules
from ledger.rules import Rule, RuleKind, RuleSet

_THRESHOLDS: Final = frozenset({"alert_thresholds_pct", "alert_threshold_pct"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportDiff:
    """What an import would do to the book of `revision`; documents before and after stand in the deltas."""

    revision: int
    added: tuple[RuleDelta, ...]
    changed: tuple[RuleDelta, ...]
    removed: tuple[RuleDelta, ...]
    unchanged: int
    settings: DocumentSwap | None
    price_versions: tuple[str, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportResult:
    """What an import did: the revision in force now, and how many rules were touched."""

    revision: int
    added: int
    changed: int
    removed: int
    unchanged: int


def check_revision(book: RuleBook, expected_revision: int | None) -> None:
    """Raise `PreconditionFailed` unless the rules stand at an expected revision."""
    if expected_revision is not None and book.revision != expected_revision:
        raise PreconditionFailed(f"the rules stand at revision {book.revision}", revision=book.revision)


def document_edit(book: RuleBook, document: object, *, actor: str, note: str) -> RuleEdit:
    """Return the edit that makes the book what a whole document says; blocking.

    Settings and prices that the document leaves out stay. A rule without an id has the id of the rule of its kind,
    key and window, else a new one. Raises `RuleSetInvalid` with every fault.
    """
    require_plan(book)
    rule_set = _read(book, document)
    rules = _with_ids(book, rule_set, _stated_ids(document))
    return RuleEdit(
        kind=ChangeKind.IMPORT,
        actor=actor,
        note=note,
        deltas=deltas_between(book, rules, rule_set.workspace),
        settings=settings_swap(book, rule_set.workspace),
        **price_swap(book.prices, rule_set.prices),
    )


def overrides_edit(book: RuleBook, documents: Sequence[Mapping[str, object]], *, actor: str, note: str) -> RuleEdit:
    """Return the edit that adds overrides, or changes those of the same user and window; blocking.

    Fields that a document leaves out stay as they are, in a new override they have their defaults. Faults have paths
    such as ``rules[3].limit_usd``.
    """
    require_plan(book)
    calendar = book.workspace.calendar
    placed = [
        (f"rules[{index}]", {**document, "kind": str(RuleKind.USER_OVERRIDE)})
        for index, document in enumerate(documents)
    ]
    given = [path for path, document in placed if document.get("id") is not None]
    if given:
        raise RuleSetInvalid([(f"{path}.id", "is given by the control plane; leave it out") for path in given])
    parsed = parse_rules(placed, calendar)
    existing = [rule_at(book, rule) for rule in parsed]
    known = zip(placed, existing, strict=True)
    merged = iter(
        parse_rules(
            [
                (path, _merge(book, stored.rule.id, document))
                for (path, document), stored in known
                if stored is not None
            ],
            calendar,
        )
    )
    rules = [
        replace(rule, id=new_rule_id()) if stored is None else next(merged)
        for rule, stored in zip(parsed, existing, strict=True)
    ]
    if len(book.entries) + existing.count(None) > MAX_RULES:
        raise TooManyRules(f"the workspace would have more than {MAX_RULES} rules")
    deltas = (
        delta_between(rule.id, stored, rule, (calendar, calendar)) for rule, stored in zip(rules, existing, strict=True)
    )
    return RuleEdit(
        kind=ChangeKind.IMPORT, actor=actor, note=note, deltas=tuple(delta for delta in deltas if delta is not None)
    )


def restore_edit(book: RuleBook, target: RuleBook, *, actor: str, note: str) -> RuleEdit:
    """Return the edit that makes the book what it was; blocking. Rules keep their ids; settings come back too."""
    require_plan(book)
    return RuleEdit(
        kind=ChangeKind.RESTORE,
        actor=actor,
        note=note,
        deltas=deltas_between(book, target.rules.rules, target.workspace),
        settings=settings_swap(book, target.workspace),
        **price_swap(book.prices, target.prices),
    )


def diff_of(book: RuleBook, edit: RuleEdit, unchanged: int) -> ImportDiff:
    """Return what an edit would do."""
    return ImportDiff(
        revision=book.revision,
        added=tuple(delta for delta in edit.deltas if delta.before is None),
        changed=tuple(delta for delta in edit.deltas if delta.before is not None and delta.after is not None),
        removed=tuple(delta for delta in edit.deltas if delta.after is None),
        unchanged=unchanged,
        settings=edit.settings,
        price_versions=edit.price_versions,
    )


def _read(book: RuleBook, document: object) -> RuleSet:
    if not isinstance(document, dict):
        return parse_rule_set(document, revision=1)
    whole = dict(document)
    if whole.get("workspace") is None:
        whole["workspace"] = book.settings_document()
    rule_set = parse_rule_set(whole, revision=1)
    return replace(rule_set, prices=book.prices) if whole.get("prices") is None else rule_set


def _stated_ids(document: object) -> set[object]:
    rules = document["rules"] if isinstance(document, dict) else []
    return {rule["id"] for rule in rules if rule.get("id") is not None}


def _with_ids(book: RuleBook, rule_set: RuleSet, stated: set[object]) -> list[Rule]:
    return [rule if rule.id in stated else replace(rule, id=_kept_id(book, rule, stated)) for rule in rule_set.rules]


def _kept_id(book: RuleBook, rule: Rule, stated: set[object]) -> str:
    stored = rule_at(book, rule)
    return new_rule_id() if stored is None or stored.rule.id in stated else stored.rule.id


def _merge(book: RuleBook, rule_id: str, document: Mapping[str, object]) -> dict[str, object]:
    given = {name: value for name, value in document.items() if value is not None or name == "limit_usd"}
    kept = book.document(rule_id)
    if _THRESHOLDS & given.keys():
        kept = {name: value for name, value in kept.items() if name not in _THRESHOLDS}
    return {**kept, **given, "id": rule_id}
