"""A rule as lists and single answers show it: every field explicit, its stamp, its state, what was spent beside it."""

from enum import StrEnum
from typing import Any, Final

from controlplane.usage import RuleSpend
from ledger.money import usd_number
from ledger.rule_book import StoredRule
from ledger.rule_fields import ALLOWANCE, CHARGE
from ledger.rule_parsing import default_policy
from ledger.rules import Policy, PolicyKind, Rule, RuleKind, RuleStatus, Workspace
from ledger.windows import rfc3339
from ledger.wire import budget_fields, window_fields


class RuleState(StrEnum):
    """Whether a rule acts now."""

    ACTIVE = "active"
    DISABLED = "disabled"
    EXPIRED = "expired"


INHERITED_FIELDS: Final = ("timezone", "week_start", "on_store_failure", "on_unpriced")
"""Fields that have a value although the rule says nothing: the workspace's, or what follows from the action."""

NO_SPEND: Final = {"spend_usd": None, "calls": None, "window_start": None, "resets_at": None}
NO_BUDGET: Final = {"held_usd": None, "remaining_usd": None, "percent": None}


def state_of(rule: Rule, now_ms: float) -> RuleState:
    """Return whether a rule acts at a moment, Unix milliseconds."""
    if rule.status is RuleStatus.DISABLED:
        return RuleState.DISABLED
    return RuleState.ACTIVE if rule.is_active(now_ms) else RuleState.EXPIRED


def rule_row(stored: StoredRule, workspace: Workspace, now_ms: float, spend: RuleSpend | None) -> dict[str, Any]:
    """Return the row of a rule; without `spend`, when the store does not answer, what was spent is null."""
    rule = stored.rule
    return {
        "id": rule.id,
        "kind": rule.kind,
        "key": rule.key,
        **_term_fields(rule),
        "inherited": inherited_fields(rule, workspace),
        "state": state_of(rule, now_ms),
        "revision": stored.revision,
        "created_at": rfc3339(stored.created_at_ms),
        "updated_at": rfc3339(stored.updated_at_ms),
        "updated_by": stored.updated_by,
        **_spend_fields(rule, spend),
    }


def inherited_fields(rule: Rule, workspace: Workspace) -> list[str]:
    """Return which fields are to be left out (or null) in a PUT, if they are to go on following from elsewhere."""
    policy = default_policy(rule.action)
    follows = (
        rule.calendar == workspace.calendar,
        rule.calendar == workspace.calendar,
        rule.on_store_failure == policy,
        rule.on_unpriced == policy,
    )
    return [name for name, is_inherited in zip(INHERITED_FIELDS, follows, strict=True) if is_inherited]


def _term_fields(rule: Rule) -> dict[str, Any]:
    return {
        "limit_usd": None if rule.limit_nanos is None else usd_number(rule.limit_nanos),
        "window": rule.window,
        "action": rule.action,
        "alert_thresholds_pct": list(rule.thresholds_pct),
        "status": rule.status,
        "timezone": rule.calendar.timezone,
        "week_start": rule.calendar.week_start,
        "on_store_failure": _policy(rule.on_store_failure, ALLOWANCE),
        "on_unpriced": _policy(rule.on_unpriced, CHARGE),
        "wait_for_replica": rule.wait_for_replica,
        "expires_at": None if rule.expires_at_ms is None else rfc3339(rule.expires_at_ms),
        "note": rule.note,
    }


def _policy(policy: Policy, amount_field: str) -> object:
    if policy.kind is PolicyKind.AMOUNT:
        return {amount_field: usd_number(policy.amount_nanos)}
    return str(policy.kind)


def _spend_fields(rule: Rule, spend: RuleSpend | None) -> dict[str, Any]:
    """Return what stands beside a rule; a template's total is over all users of the tier, so it has no share."""
    is_override = rule.kind is RuleKind.USER_OVERRIDE
    if spend is None:
        return NO_SPEND | NO_BUDGET if is_override else NO_SPEND
    window = window_fields(spend.window)
    budget = budget_fields(spend.counter, rule.limit_nanos)
    shown = ("spend_usd", "calls", *(NO_BUDGET if is_override else ()))
    return {
        **{name: budget[name] for name in shown},
        "window_start": window["window_start"],
        "resets_at": window["resets_at"],
    }
