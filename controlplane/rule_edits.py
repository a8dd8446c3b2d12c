"""Edits of one rule, or of the settings, made for a book: checked against it, not committed yet."""

import secrets
from collections.abc import Mapping

from controlplane.rule_errors import PlanRequired, PreconditionFailed, RuleExists, RuleNotFound, TooManyRules
from ledger.errors import RuleSetInvalid
from ledger.price_parsing import parse_price_book
from ledger.rule_book import RuleBook, StoredRule, delta_between, price_swap
from ledger.rule_changes import ChangeKind, DocumentSwap, RuleDelta, RuleEdit
from ledger.rule_parsing import MAX_RULES, dump_workspace, parse_rules, parse_workspace
from ledger.rules import PlanName, Rule, RuleKind, Workspace
from ledger.windows import Calendar


def new_rule_id() -> str:
    """Return a fresh id: ids are never used again, so that the trail and the tallies of a rule are its own."""
    return f"rule-{secrets.token_hex(8)}"


def require_plan(book: RuleBook) -> None:
    """Raise `PlanRequired` unless the workspace's plan has rules."""
    if book.workspace.plan is not PlanName.GROWTH:
        raise PlanRequired(f"rules need plan growth; this workspace has {book.workspace.plan}", field="plan")


def find_rule(book: RuleBook, rule_id: str, expected_revision: int | None) -> StoredRule:
    """Return a rule that is still in its expected revision. Raises `RuleNotFound`, `PreconditionFailed`."""
    stored = book.entries.get(rule_id)
    if stored is None:
        raise RuleNotFound(f"there is no rule {rule_id}")
    if expected_revision is not None and stored.revision != expected_revision:
        message = f"the rule was changed in revision {stored.revision} by {stored.updated_by}"
        raise PreconditionFailed(message, revision=stored.revision, current=stored)
    return stored


def creation(book: RuleBook, rule_id: str, document: Mapping[str, object], kind: RuleKind) -> tuple[RuleDelta, ...]:
    """Return the deltas that add a rule."""
    require_plan(book)
    if document.get("id") is not None:
        raise RuleSetInvalid([("id", "is given by the control plane; leave it out")])
    if len(book.entries) >= MAX_RULES:
        raise TooManyRules(f"the workspace has {MAX_RULES} rules, which is the most there may be")
    return _rule_deltas(book, rule_id, document, kind)


def update(
    book: RuleBook, rule_id: str, document: Mapping[str, object], expected_revision: int | None
) -> tuple[RuleDelta, ...]:
    """Return the deltas that put a whole document in the place of a rule; none if nothing would change."""
    require_plan(book)
    stored = find_rule(book, rule_id, expected_revision)
    if document.get("id") not in (None, rule_id):
        raise RuleSetInvalid([("id", f"is {rule_id} and stays so")])
    return _rule_deltas(book, rule_id, document, stored.rule.kind)


def deletion(book: RuleBook, rule_id: str, expected_revision: int | None) -> tuple[RuleDelta, ...]:
    """Return the deltas that remove a rule."""
    require_plan(book)
    stored = find_rule(book, rule_id, expected_revision)
    return _deltas(delta_between(rule_id, stored, None, _same(book)))


def settings_edit(
    book: RuleBook, document: object, *, expected_revision: int | None, actor: str, note: str
) -> RuleEdit:
    """Return the edit that puts a whole `workspace` in the place of the settings.

    A rule whose own time zone is now the workspace's follows it from here on, and its document no longer names it.
    """
    if expected_revision is not None and book.settings_revision != expected_revision:
        message = f"the settings were changed in revision {book.settings_revision}"
        raise PreconditionFailed(message, revision=book.settings_revision)
    workspace = parse_workspace(document if document is not None else {})
    return RuleEdit(
        kind=ChangeKind.SETTINGS,
        actor=actor,
        note=note,
        deltas=_rules_that_follow_now(book, workspace.calendar),
        settings=settings_swap(book, workspace),
    )


def prices_edit(book: RuleBook, document: object, *, actor: str, note: str) -> RuleEdit:
    """Return the edit that puts a price book in the place of the prices; blocking.

    Raises `RuleSetInvalid` with every fault.
    """
    swap = price_swap(book.prices, parse_price_book(document))
    return RuleEdit(kind=ChangeKind.PRICES, actor=actor, note=note, **swap)


def settings_swap(book: RuleBook, workspace: Workspace) -> DocumentSwap | None:
    """Return settings before and after, None if they are alike."""
    if workspace == book.workspace:
        return None
    return DocumentSwap(book.settings_document(), dump_workspace(workspace))


def _rules_that_follow_now(book: RuleBook, calendar: Calendar) -> tuple[RuleDelta, ...]:
    """Return the deltas of rules whose own calendar becomes the workspace's: their documents stop naming it."""
    if calendar == book.workspace.calendar:
        return ()
    calendars = (book.workspace.calendar, calendar)
    own = (stored for stored in book.entries.values() if stored.rule.calendar == calendar)
    deltas = (delta_between(stored.rule.id, stored, stored.rule, calendars) for stored in own)
    return tuple(delta for delta in deltas if delta is not None)


def rule_at(book: RuleBook, rule: Rule) -> StoredRule | None:
    """Return the rule of the same kind, key and window, if there is one."""
    index = book.rules.overrides if rule.kind is RuleKind.USER_OVERRIDE else book.rules.templates
    same = next((other for other in index.get(rule.key, ()) if other.window is rule.window), None)
    return None if same is None else book.entries[same.id]


def _rule_deltas(book: RuleBook, rule_id: str, document: Mapping[str, object], kind: RuleKind) -> tuple[RuleDelta, ...]:
    if document.get("kind") not in (None, str(kind)):
        raise RuleSetInvalid([("kind", f"is {kind} here")])
    calendar = book.workspace.calendar
    (rule,) = parse_rules([("", {**document, "kind": str(kind), "id": rule_id})], calendar)
    other = rule_at(book, rule)
    if other is not None and other.rule.id != rule_id:
        message = f"rule {other.rule.id} is for {rule.kind} {rule.key!r} in the same window, {rule.window}"
        raise RuleExists(message, current=other)
    return _deltas(delta_between(rule_id, book.entries.get(rule_id), rule, _same(book)))


def _same(book: RuleBook) -> tuple[Calendar, Calendar]:
    return book.workspace.calendar, book.workspace.calendar


def _deltas(delta: RuleDelta | None) -> tuple[RuleDelta, ...]:
    return () if delta is None else (delta,)
