"""A plan as text and back, for journals: what was admitted is charged in the windows of then."""

import json
from typing import Any

from ledger.decisions import BudgetTerms, Reason
from ledger.plans import CountedWindow, Plan, PlannedAllowance, PlannedBudget, TierWindow, parse_window_code
from ledger.rules import Action, OnExpiry, Policy, PolicyKind, RuleKind
from ledger.windows import Calendar, WeekStart


def dump_plan(plan: Plan) -> str:
    """Return a plan as one line of JSON."""
    fields = {
        "revision": plan.revision,
        "tier": plan.tier,
        "counters": [_dump_counter(counter) for counter in plan.counters],
        "budgets": [_dump_budget(budget) for budget in plan.budgets],
        "tiers": [[entry.tier, entry.window.code] for entry in plan.tier_windows],
        "valid": [plan.valid_from_ms, plan.valid_until_ms],
        "calm_reason": plan.calm_reason,
        "stopped": plan.stopped,
        "on_expiry": plan.on_expiry,
        "on_unpriced": _dump_policy(plan.on_unpriced),
        "on_store_failure": _dump_policy(plan.on_store_failure),
        "allowances": [[each.rule_id, each.window.code, each.limit_nanos] for each in plan.allowances],
        "wait_for_replica": plan.wait_for_replica,
        "is_shared": plan.is_shared,
        "context": plan.context,
    }
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def load_plan(text: str) -> Plan:
    """Return the plan of a text; the inverse of `dump_plan`. Raises `ValueError`, `KeyError` or `TypeError`."""
    fields = json.loads(text)
    return Plan(
        revision=fields["revision"],
        tier=fields["tier"],
        counters=tuple(_load_counter(*entry) for entry in fields["counters"]),
        budgets=tuple(_load_budget(*entry) for entry in fields["budgets"]),
        tier_windows=tuple(TierWindow(tier, parse_window_code(code)) for tier, code in fields["tiers"]),
        valid_from_ms=fields["valid"][0],
        valid_until_ms=fields["valid"][1],
        calm_reason=Reason(fields["calm_reason"]),
        stopped=fields["stopped"],
        on_expiry=OnExpiry(fields["on_expiry"]),
        on_unpriced=_load_policy(*fields["on_unpriced"]),
        on_store_failure=_load_policy(*fields["on_store_failure"]),
        allowances=tuple(
            PlannedAllowance(rule_id, parse_window_code(code), nanos) for rule_id, code, nanos in fields["allowances"]
        ),
        wait_for_replica=fields["wait_for_replica"],
        is_shared=fields.get("is_shared", False),  # Journals of before have none.
        context=fields["context"],
    )


def _dump_policy(policy: Policy) -> list[Any]:
    return [policy.kind, policy.amount_nanos]


def _load_policy(kind: str, amount_nanos: int) -> Policy:
    return Policy(PolicyKind(kind), amount_nanos)


def _dump_counter(counter: CountedWindow) -> list[Any]:
    calendar, previous = counter.calendar, counter.previous
    code = None if previous is None else previous.code
    return [counter.window.code, calendar.timezone, calendar.week_start, counter.seed, code]


def _load_counter(code: str, timezone: str, week_start: str, seed: int | None, previous: str | None) -> CountedWindow:
    before = None if previous is None else parse_window_code(previous)
    return CountedWindow(parse_window_code(code), Calendar(timezone, WeekStart(week_start)), seed, before)


def _dump_budget(budget: PlannedBudget) -> list[Any]:
    terms = budget.terms
    named = [terms.rule_id, terms.rule_kind, terms.action, terms.limit_nanos, terms.window.code]
    return [budget.counter, budget.spec, *named]


def _load_budget(
    counter: int, spec: str, rule_id: str, kind: str, action: str, limit_nanos: int | None, code: str
) -> PlannedBudget:
    terms = BudgetTerms(rule_id, RuleKind(kind), Action(action), limit_nanos, parse_window_code(code))
    return PlannedBudget(terms, counter, spec)
