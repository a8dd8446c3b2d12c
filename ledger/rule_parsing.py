"""Rule sets from decoded YAML or JSON, and back. The shape is the same in a rule file, in a push and on disk."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from ledger.errors import InvalidInput, RuleSetInvalid
from ledger.moments import parse_moment
from ledger.money import parse_usd, usd_text
from ledger.names import parse_name
from ledger.price_parsing import dump_prices, parse_prices
from ledger.rule_fields import (
    ALLOWANCE,
    CHARGE,
    MAX_NOTE_LENGTH,
    MAX_REVISION,
    MAX_THRESHOLD_PCT,
    MAX_THRESHOLDS,
    parse_failure_policy,
    parse_flag,
    parse_id,
    parse_kind,
    parse_note,
    parse_override_key,
    parse_revision,
    parse_threshold,
    parse_thresholds,
    parse_timezone,
    parse_unpriced_policy,
)
from ledger.rules import (
    ALLOW,
    DEFAULT_THRESHOLDS_PCT,
    DENY,
    Action,
    Mode,
    OnExpiry,
    PlanName,
    Policy,
    PolicyKind,
    Rule,
    RuleKind,
    RuleSet,
    RuleStatus,
    Workspace,
    rule_id,
)
from ledger.sections import Faults, Section, joined, section_at
from ledger.similar_rules import SimilarRules
from ledger.usage import Estimate
from ledger.windows import Calendar, WeekStart, WindowType, rfc3339

__all__ = [
    "ALLOWANCE",
    "CHARGE",
    "MAX_NOTE_LENGTH",
    "MAX_REVISION",
    "MAX_RULES",
    "MAX_THRESHOLDS",
    "MAX_THRESHOLD_PCT",
    "default_policy",
    "document_revision",
    "dump_rule",
    "dump_rule_set",
    "dump_rules",
    "dump_settings",
    "dump_workspace",
    "parse_rule_set",
    "parse_rules",
    "parse_workspace",
]

MAX_RULES: Final = 1_000_000

DOCUMENT_FIELDS: Final = frozenset({"revision", "workspace", "rules", "prices"})
WORKSPACE_FIELDS: Final = frozenset({"timezone", "week_start", "plan", "on_expiry", "mode", "estimate"})
RULE_FIELDS: Final = frozenset(
    {
        "id",
        "kind",
        "key",
        "limit_usd",
        "window",
        "action",
        "alert_thresholds_pct",
        "alert_threshold_pct",
        "status",
        "timezone",
        "week_start",
        "on_store_failure",
        "on_unpriced",
        "wait_for_replica",
        "expires_at",
        "note",
    }
)

_ACTIONS: Final = {str(action): action for action in Action}
_STATUSES: Final = {str(status): status for status in RuleStatus}
_WEEK_STARTS: Final = {str(day): day for day in WeekStart}
_PLANS: Final = {str(plan): plan for plan in PlanName}
_ON_EXPIRY: Final = {str(choice): choice for choice in OnExpiry}
_MODES: Final = {str(mode): mode for mode in Mode}
_ESTIMATES: Final = {str(estimate): estimate for estimate in Estimate}
_WINDOWS: Final = {str(kind): kind for kind in WindowType} | {
    "daily": WindowType.DAY,
    "weekly": WindowType.WEEK,
    "monthly": WindowType.MONTH,
}


def parse_rule_set(document: object, *, revision: int, consume: bool = False) -> RuleSet:
    """Return the rule set of a decoded document; the document's own `revision`, if any, wins over the argument.

    With `consume` each row leaves the document's list when it is read: very many never stand beside all their rules.
    Raises `RuleSetInvalid` with every fault as (path, message), such as ``("rules[3].limit_usd", "is required")``.
    """
    faults = Faults()
    top = section_at(document, path="", faults=faults, known=DOCUMENT_FIELDS)
    revision = top.parse("revision", parse_revision, revision)
    workspace = _parse_workspace(top.get("workspace"), faults)
    reader = _RuleReader(faults, workspace.calendar)
    rules = reader.read_all(top.get("rules"), consume=consume)
    reader.forget()
    prices = parse_prices(top.get("prices"), faults)
    faults.raise_if_any()
    return RuleSet.of(revision=revision, workspace=workspace, rules=rules, prices=prices)


def parse_rules(documents: Iterable[tuple[str, object]], calendar: Calendar) -> list[Rule]:
    """Return the rules of documents, each given with the path that its faults are to have.

    `calendar` is the workspace's. Raises `RuleSetInvalid` with every fault, also for rules that may not stand together.
    """
    faults = Faults()
    reader = _RuleReader(faults, calendar)
    rules = [reader.read(path, document) for path, document in documents]
    reader.forget()
    faults.raise_if_any()
    return rules


def parse_workspace(document: object) -> Workspace:
    """Return the settings of a rule set's `workspace`; None has the defaults. Raises `RuleSetInvalid`."""
    faults = Faults()
    workspace = _parse_workspace(document, faults)
    faults.raise_if_any()
    return workspace


def document_revision(document: object) -> int | None:
    """Return the revision that a document states, None if it states none. Raises `RuleSetInvalid` if it is faulty."""
    value = document.get("revision") if isinstance(document, Mapping) else None
    if value is None:
        return None
    try:
        return parse_revision(value, field="revision")
    except InvalidInput as error:
        raise RuleSetInvalid([("revision", error.message.removeprefix("revision "))]) from None


def dump_rule_set(rule_set: RuleSet) -> dict[str, object]:
    """Return the document of a rule set, ready for JSON: ``parse_rule_set(dump_rule_set(x))`` equals ``x``."""
    return {**dump_settings(rule_set), "rules": list(dump_rules(rule_set))}


def dump_settings(rule_set: RuleSet) -> dict[str, object]:
    """Return all of a rule set's document but its rules."""
    document: dict[str, object] = {
        "revision": rule_set.revision,
        "workspace": dump_workspace(rule_set.workspace),
    }
    if rule_set.prices.count:
        document["prices"] = dump_prices(rule_set.prices)
    return document


def dump_workspace(workspace: Workspace) -> dict[str, object]:
    """Return the `workspace` of a rule set's document."""
    return {
        "timezone": workspace.calendar.timezone,
        "week_start": workspace.calendar.week_start,
        "plan": workspace.plan,
        "on_expiry": workspace.on_expiry,
        "mode": workspace.mode,
        "estimate": workspace.estimate,
    }


def dump_rules(rule_set: RuleSet) -> Iterator[dict[str, object]]:
    """Yield the rules of a rule set's document, one at a time, amounts as decimal strings.

    What follows from elsewhere is left out, so that it goes on following after an edit: a calendar that is the
    workspace's, a policy that is the action's default.
    """
    for rule in rule_set.rules:
        yield dump_rule(rule, rule_set.workspace.calendar)


def default_policy(action: Action) -> Policy:
    """Return what a rule does without an answer of the store or a price, unless it says otherwise."""
    return DENY if action is Action.BLOCK else ALLOW


@dataclass(slots=True)
class _RuleReader:
    """Reads rules one after the other and remembers what must be unique: ids, and (kind, key, window)."""

    faults: Faults
    calendar: Calendar
    places: dict[tuple[RuleKind, str, WindowType], str] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    calendars: dict[tuple[str, WeekStart], Calendar] = field(default_factory=dict)
    similar: SimilarRules = field(default_factory=SimilarRules)

    def read_all(self, values: object, *, consume: bool) -> tuple[Rule, ...]:
        """Return the rules of a list; what is not a list of at most 1,000,000 is a fault."""
        if not isinstance(values, list):
            self.faults.add("rules", "is required, as a list (an empty one removes all rules)")
            return ()
        if len(values) > MAX_RULES:
            self.faults.add("rules", f"has more than {MAX_RULES} rules")
            return ()
        return tuple(
            [self.read(f"rules[{index}]", value) for index, value in enumerate(_rows(values, consume=consume))]
        )

    def read(self, path: str, value: object) -> Rule:
        """Return the rule of a mapping that stands at `path`."""
        rule = self.similar.read(value) if isinstance(value, dict) else None
        if rule is None:
            return self._read_with_care(path, value)
        self._refuse_duplicate(path, rule)
        return rule

    def _read_with_care(self, path: str, value: object) -> Rule:
        """Return the rule of a mapping, every fault kept under its path; without one, more may be read like it."""
        before = self.faults.count
        section = section_at(value, path=path, faults=self.faults, known=RULE_FIELDS)
        kind = section.require("kind", parse_kind, RuleKind.TIER_TEMPLATE)
        key = section.require("key", parse_override_key if kind is RuleKind.USER_OVERRIDE else parse_name, "")
        window = section.choose("window", _WINDOWS, WindowType.MONTH)
        action = section.choose("action", _ACTIONS, Action.WARN)
        policy = default_policy(action)
        rule = Rule(
            id=section.parse("id", parse_id, "") or rule_id(kind, key, window),
            kind=kind,
            key=key,
            limit_nanos=_read_limit(section),
            window=window,
            action=action,
            thresholds_pct=_read_thresholds(section),
            status=section.choose("status", _STATUSES, RuleStatus.ACTIVE),
            calendar=self._read_calendar(section),
            on_store_failure=section.parse("on_store_failure", parse_failure_policy, policy),
            on_unpriced=section.parse("on_unpriced", parse_unpriced_policy, policy),
            wait_for_replica=section.parse("wait_for_replica", parse_flag, default=False),
            expires_at_ms=section.parse("expires_at", parse_moment, None),
            note=section.parse("note", parse_note, ""),
        )
        if key:
            self._refuse_duplicate(path, rule)
        if isinstance(value, dict) and self.faults.count == before:
            self.similar.learn(value, rule)
        return rule

    def forget(self) -> None:
        """Free what was remembered, in small steps: all at once it would keep other threads waiting for long."""
        for remembered in (self.places, self.ids):
            while remembered:
                remembered.popitem()

    def _read_calendar(self, section: Section) -> Calendar:
        if section.get("timezone") is None and section.get("week_start") is None:
            return self.calendar
        calendar = read_calendar(section, self.calendar)
        return self.calendars.setdefault((calendar.timezone, calendar.week_start), calendar)

    def _refuse_duplicate(self, path: str, rule: Rule) -> None:
        first = self.places.setdefault((rule.kind, rule.key, rule.window), path)
        if first != path:
            self.faults.add(joined(path, ""), f"has the kind, key and window of {first}; one rule for each")
            return
        first = self.ids.setdefault(rule.id, path)
        if first != path:
            self.faults.add(joined(path, "id"), f"is the id of {first}")


def _rows(values: list[object], *, consume: bool) -> Iterator[object]:
    for index, value in enumerate(values):
        if consume:
            values[index] = None
        yield value


def _parse_workspace(value: object, faults: Faults) -> Workspace:
    if value is None:
        return Workspace()
    section = section_at(value, path="workspace", faults=faults, known=WORKSPACE_FIELDS)
    return Workspace(
        calendar=read_calendar(section, Calendar("UTC")),
        plan=section.choose("plan", _PLANS, PlanName.GROWTH),
        on_expiry=section.choose("on_expiry", _ON_EXPIRY, OnExpiry.CHARGE),
        mode=section.choose("mode", _MODES, Mode.ENFORCE),
        estimate=section.choose("estimate", _ESTIMATES, Estimate.MAX_TOKENS),
    )


def read_calendar(section: Section, default: Calendar) -> Calendar:
    """Return the calendar of a section's `timezone` and `week_start`, each with the default's value if missing."""
    timezone = section.parse("timezone", parse_timezone, default.timezone)
    return Calendar(timezone, section.choose("week_start", _WEEK_STARTS, default.week_start))


def _read_limit(section: Section) -> int | None:
    if not section.has("limit_usd"):
        section.fault("limit_usd", "is required; null is unlimited, 0 blocks everything")
    return section.parse("limit_usd", parse_usd, None)


def _read_thresholds(section: Section) -> tuple[int, ...]:
    if section.get("alert_threshold_pct") is None:
        return section.parse("alert_thresholds_pct", parse_thresholds, DEFAULT_THRESHOLDS_PCT)
    if section.get("alert_thresholds_pct") is not None:
        section.fault("alert_threshold_pct", "is given beside alert_thresholds_pct; keep one of them")
    return section.parse("alert_threshold_pct", parse_threshold, DEFAULT_THRESHOLDS_PCT)


def dump_rule(rule: Rule, workspace_calendar: Calendar) -> dict[str, object]:
    """Return the document of one rule; see `dump_rules` for what is left out."""
    document: dict[str, object] = {
        "id": rule.id,
        "kind": rule.kind,
        "key": rule.key,
        "limit_usd": None if rule.limit_nanos is None else usd_text(rule.limit_nanos),
        "window": rule.window,
        "action": rule.action,
        "alert_thresholds_pct": list(rule.thresholds_pct),
        "status": rule.status,
    }
    if rule.calendar != workspace_calendar:
        document["timezone"] = rule.calendar.timezone
        document["week_start"] = rule.calendar.week_start
    if rule.on_store_failure != default_policy(rule.action):
        document["on_store_failure"] = _dump_policy(rule.on_store_failure, ALLOWANCE)
    if rule.on_unpriced != default_policy(rule.action):
        document["on_unpriced"] = _dump_policy(rule.on_unpriced, CHARGE)
    if rule.wait_for_replica:
        document["wait_for_replica"] = True
    if rule.expires_at_ms is not None:
        document["expires_at"] = rfc3339(rule.expires_at_ms)
    if rule.note:
        document["note"] = rule.note
    return document


def _dump_policy(policy: Policy, amount_field: str) -> object:
    if policy.kind is PolicyKind.AMOUNT:
        return {amount_field: usd_text(policy.amount_nanos)}
    return str(policy.kind)
