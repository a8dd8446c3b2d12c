"""A plan: what one user's next decision needs, compiled from the rule set and the calendar, good for a span of time.

A plan holds the windows to count, the budgets to judge and the tier totals to add to. It depends on the user only
through the rules that match, so all users of a tier share one plan until a window ends or a rule expires.
"""

import json
from dataclasses import dataclass, field, replace
from typing import Final

from ledger.decisions import BudgetTerms, Reason
from ledger.rules import (
    ALLOW,
    ANY_TIER,
    DENY,
    Action,
    Match,
    Mode,
    OnExpiry,
    PlanName,
    Policy,
    PolicyKind,
    Rule,
    RuleKind,
    RuleSet,
    Workspace,
    match_rules,
    strictest,
)
from ledger.windows import Calendar, Window, WindowType, previous_window, window_at

FIELD = "\x1f"
"""Separates fields in records and scripts' arguments; no user id, tier or request id can contain it."""


MAX_TEMPLATE_CALENDARS: Final = 4
"""Up to so many calendars of templates are counted for every user, whatever the tier."""


@dataclass(frozen=True, slots=True)
class CountedWindow:
    """One counter of a user.

    `seed` is the index of the workspace's counter of the same window type, from which a zone that was never counted
    for this user starts; `previous` is the window whose counter proves that the zone was counted before. Both None
    for the workspace's own counters.
    """

    window: Window
    calendar: Calendar
    seed: int | None = None
    previous: Window | None = None


@dataclass(frozen=True, slots=True)
class PlannedBudget:
    """A budget to judge: its terms, the index of its counter, and the rule as the scripts read it."""

    terms: BudgetTerms
    counter: int
    spec: str


@dataclass(frozen=True, slots=True)
class TierWindow:
    """One counter of tier totals."""

    tier: str
    window: Window


@dataclass(frozen=True, slots=True)
class PlannedAllowance:
    """What a rule lets through while the store is away: at most `limit_nanos` a user, window and sidecar."""

    rule_id: str
    window: Window
    limit_nanos: int


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """See the module. Good for store times `valid_from_ms <= t < valid_until_ms`, Unix milliseconds.

    `is_shared` unless an override of the user's own matters for it, be it that its end did.
    `allowances` are those of all matching rules where `on_store_failure` is an amount, which is the smallest of them.
    """

    revision: int
    tier: str | None
    counters: tuple[CountedWindow, ...]
    budgets: tuple[PlannedBudget, ...]
    tier_windows: tuple[TierWindow, ...]
    valid_from_ms: int
    valid_until_ms: int
    calm_reason: Reason
    stopped: bool
    on_expiry: OnExpiry
    on_unpriced: Policy
    wait_for_replica: bool
    on_store_failure: Policy
    allowances: tuple[PlannedAllowance, ...]
    is_shared: bool
    context: str = field(repr=False)

    @property
    def has_blocks(self) -> bool:
        """Say whether one of the budgets blocks."""
        return any(budget.terms.action is Action.BLOCK for budget in self.budgets)


def compile_plan(rule_set: RuleSet, user_id: str, tier: str | None, at_ms: int) -> Plan:
    """Return the plan of a user at a store time. Days, weeks and months come from `ledger.windows`."""
    match = match_rules(rule_set, user_id, tier, at_ms)
    workspace = rule_set.workspace
    gated = workspace.plan is not PlanName.GROWTH
    acting = () if gated else match.rules
    named = [*match.rules, *(entry.rule for entry in match.skipped)]
    calendars = _calendars(workspace.calendar, [*named, *_templates(rule_set)])
    counters = _counters(calendars, at_ms)
    budgets = tuple(_budget(rule, counters, workspace.mode, at_ms) for rule in acting)
    tier_windows = _tier_windows(rule_set, tier, match, at_ms)
    on_store_failure = policy_without_store(match.rules, workspace)
    windows = [counter.window for counter in counters] + [entry.window for entry in tier_windows]
    ends = _rule_ends(match)
    return Plan(
        revision=rule_set.revision,
        tier=tier,
        counters=counters,
        budgets=budgets,
        tier_windows=tier_windows,
        valid_from_ms=max([window.start_s * 1000 for window in windows] + [end for end in ends if end <= at_ms]),
        valid_until_ms=min([window.end_s * 1000 for window in windows] + [end for end in ends if end > at_ms]),
        calm_reason=_calm_reason(acting, gated=gated),
        stopped=workspace.mode is Mode.STOP,
        on_expiry=workspace.on_expiry,
        on_unpriced=_effective(strictest([rule.on_unpriced for rule in acting], smallest_amount=False), workspace),
        wait_for_replica=any(rule.wait_for_replica for rule in acting),
        on_store_failure=on_store_failure,
        allowances=_allowances(acting, at_ms) if on_store_failure.kind is PolicyKind.AMOUNT else (),
        is_shared=all(rule.kind is RuleKind.TIER_TEMPLATE for rule in named),
        context=encode_context(rule_set.revision, tier, [budget.terms for budget in budgets]),
    )


def plan_without_user(rule_set: RuleSet, tier: str | None, at_ms: int) -> Plan:
    """Return the plan of a call that nobody's counters know of: its day, and the totals of its tier."""
    plan = compile_plan(rule_set, "", tier, at_ms)
    own_rows = tuple(row for row in plan.tier_windows if row.tier == tier)
    return replace(plan, budgets=(), tier_windows=own_rows, context=encode_context(plan.revision, tier, []))


def encode_context(revision: int, tier: str | None, terms: list[BudgetTerms]) -> str:
    """Return what a replay needs beside the script's numbers, as the text kept in the request's record."""
    lines = [[term.rule_id, term.rule_kind, term.action, _text(term.limit_nanos), term.window.code] for term in terms]
    return json.dumps([revision, tier, lines], ensure_ascii=False, separators=(",", ":"))


def decode_context(text: str) -> tuple[int, str | None, tuple[BudgetTerms, ...]]:
    """Return revision, tier and terms of a kept context; the inverse of `encode_context`."""
    revision, tier, lines = json.loads(text)
    terms = tuple(
        BudgetTerms(
            rule_id,
            RuleKind(kind),
            Action(action),
            int(limit) if limit else None,
            parse_window_code(code),
        )
        for rule_id, kind, action, limit, code in lines
    )
    return revision, tier, terms


def parse_window_code(code: str) -> Window:
    """Return the window of a code such as ``day:1767225600:1767312000``."""
    kind, start, end = code.split(":")
    return Window(type=WindowType(kind), start_s=int(start), end_s=int(end))


def rule_spec(rule: Rule, mode: Mode) -> str:
    """Return a rule as the scripts read it: id, effective action, limit, thresholds as ``pct:nanos,pct:nanos``.

    A threshold in nano-USD is the limit's share rounded up, so that Lua compares integers only. A limit of zero has
    no thresholds.
    """
    action = _action_in(mode, rule)
    limit = rule.limit_nanos
    pairs = [f"{pct}:{-(-limit * pct // 100)}" for pct in sorted(rule.thresholds_pct)] if limit else []
    return FIELD.join([rule.id, action, _text(limit), ",".join(pairs)])


def _action_in(mode: Mode, rule: Rule) -> Action:
    return Action.DRY_RUN if mode is Mode.OBSERVE and rule.action is Action.BLOCK else rule.action


def effective_action(rule: Rule, workspace: Workspace) -> Action | None:
    """Return what a rule does over its limit under the workspace's mode; None where the plan lets no rule act."""
    return _action_in(workspace.mode, rule) if workspace.plan is PlanName.GROWTH else None


def _text(limit_nanos: int | None) -> str:
    return "" if limit_nanos is None else str(limit_nanos)


def _calendars(first: Calendar, rules: list[Rule]) -> list[Calendar]:
    return list(dict.fromkeys([first, *(rule.calendar for rule in rules)]))


def _templates(rule_set: RuleSet) -> list[Rule]:
    """List every template, so that a user who changes the tier was counted in its zone all along.

    Where templates have very many zones, counting all of them on each charge would cost more than it keeps: then none
    but those of the matching rules are counted (docs/decisions/0008).
    """
    templates = [rule for rules in rule_set.templates.values() for rule in rules]
    return templates if len({rule.calendar for rule in templates}) <= MAX_TEMPLATE_CALENDARS else []


def _counters(calendars: list[Calendar], at_ms: int) -> tuple[CountedWindow, ...]:
    """List the workspace's day, week and month, then those of other calendars that are not among them yet."""
    at_s = at_ms / 1000
    counters = [CountedWindow(window_at(kind, calendars[0], at_s), calendars[0]) for kind in WindowType]
    known = {counter.window for counter in counters}
    for calendar in calendars[1:]:
        for seed, kind in enumerate(WindowType):
            window = window_at(kind, calendar, at_s)
            if window not in known:
                known.add(window)
                counters.append(CountedWindow(window, calendar, seed, previous_window(window, calendar)))
    return tuple(counters)


def _budget(rule: Rule, counters: tuple[CountedWindow, ...], mode: Mode, at_ms: int) -> PlannedBudget:
    window = window_at(rule.window, rule.calendar, at_ms / 1000)
    index = next(index for index, counter in enumerate(counters) if counter.window == window)
    terms = BudgetTerms(rule.id, rule.kind, rule.action, rule.limit_nanos, window)
    return PlannedBudget(terms, index, rule_spec(rule, mode))


def _tier_windows(rule_set: RuleSet, tier: str | None, match: Match, at_ms: int) -> tuple[TierWindow, ...]:
    """List tier totals: of the tier that was sent, and of `*` for users without an override or a tier's template."""
    names = [tier] if tier is not None else []
    if match.counts_as_any_tier:
        names.append(ANY_TIER)
    rows: list[TierWindow] = []
    for name in names:
        templates = list(rule_set.templates.get(name, ()))
        for calendar in _calendars(rule_set.workspace.calendar, templates):
            rows += [TierWindow(name, window_at(kind, calendar, at_ms / 1000)) for kind in WindowType]
    return tuple(dict.fromkeys(rows))


def _rule_ends(match: Match) -> list[int]:
    """List the moments at which a rule that names this user or tier ends or has ended: plans hold between them."""
    rules = [*match.rules, *(entry.rule for entry in match.skipped)]
    return [rule.expires_at_ms for rule in rules if rule.expires_at_ms is not None]


def _effective(policy: Policy, workspace: Workspace) -> Policy:
    """Return a policy as the workspace's mode has it: in `observe` nothing is refused."""
    return ALLOW if workspace.mode is Mode.OBSERVE and policy.kind is PolicyKind.DENY else policy


def policy_without_store(rules: tuple[Rule, ...], workspace: Workspace) -> Policy:
    """Return the strictest `on_store_failure` as the mode and the plan have it.

    `stop` needs no counter to refuse; in `observe` nothing is refused, and below the plan `growth` no rule acts.
    """
    if workspace.mode is Mode.STOP:
        return DENY
    if workspace.mode is Mode.OBSERVE or workspace.plan is not PlanName.GROWTH:
        return ALLOW
    return strictest([rule.on_store_failure for rule in rules], smallest_amount=True)


def _allowances(rules: tuple[Rule, ...], at_ms: int) -> tuple[PlannedAllowance, ...]:
    return tuple(
        PlannedAllowance(
            rule.id, window_at(rule.window, rule.calendar, at_ms / 1000), rule.on_store_failure.amount_nanos
        )
        for rule in rules
        if rule.on_store_failure.kind is PolicyKind.AMOUNT
    )


def _calm_reason(acting: tuple[Rule, ...], *, gated: bool) -> Reason:
    if gated:
        return Reason.PLAN
    if not acting:
        return Reason.NO_RULE
    if all(rule.limit_nanos is None for rule in acting):
        return Reason.UNLIMITED
    return Reason.UNDER_LIMIT
