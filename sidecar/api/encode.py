"""Decisions and settlements to the fields of the wire; the field lists stand in docs/http-api.md."""

from functools import lru_cache
from typing import Any, Final

from ledger.decisions import (
    Budget,
    BudgetTerms,
    Decision,
    HoldState,
    Operation,
    Outcome,
    Settlement,
    Warning,  # noqa: A004 - the contract's word
)
from ledger.money import usd_number
from ledger.rule_fields import ALLOWANCE
from ledger.windows import rfc3339
from ledger.wire import percent, policy_value, window_fields

NO_RULE: Final[dict[str, Any]] = {
    "action": None,
    "rule_id": None,
    "rule_kind": None,
    "limit_usd": None,
    "spend_usd": None,
    "held_usd": None,
    "remaining_usd": None,
    "percent": None,
    "window": None,
    "window_start": None,
    "resets_at": None,
    "warning": None,
}
STATE_AFTER: Final = {
    Operation.SETTLE: HoldState.SETTLED,
    Operation.RELEASE: HoldState.RELEASED,
    Operation.EXTEND: HoldState.OPEN,
}


def encode_answer(answer: Decision | Settlement) -> dict[str, Any]:
    """Return the answer to any operation."""
    return encode_decision(answer) if isinstance(answer, Decision) else encode_settlement(answer)


def encode_decision(decision: Decision) -> dict[str, Any]:
    """Return the answer to a check or a reserve."""
    outcome = decision.outcome
    lines = [encode_budget(budget) for budget in decision.budgets]
    fields = {
        "decision": outcome,
        "allowed": outcome is not Outcome.BLOCK,
        "would_block": outcome is Outcome.DRY_RUN,
        "reason": decision.reason,
        "request_id": decision.request_id,
        "replayed": decision.replayed,
        "degraded": decision.degraded,
        "on_store_failure": policy_value(decision.on_store_failure, ALLOWANCE),
        "user_id": decision.user_id,
        "tier": decision.tier,
        "rules_revision": decision.rules_revision,
        **_top_line(lines, decision.decider),
        "budgets": lines,
    }
    if decision.retry_after_ms is not None:
        fields["retry_after_ms"] = decision.retry_after_ms
    if decision.operation is Operation.RESERVE and decision.allowed:
        fields["reserved_at"] = rfc3339(decision.at_ms)
        if not decision.degraded:
            fields["expires_at"] = rfc3339(decision.at_ms + decision.ttl_ms)
            fields["hold_state"] = decision.hold_state
    return fields


def encode_settlement(settlement: Settlement) -> dict[str, Any]:
    """Return the answer to a settle, release or extend."""
    lines = [encode_budget(budget) for budget in settlement.budgets]
    before, charged, estimate = settlement.state_before, settlement.charged_nanos, settlement.estimate_nanos
    fields = {
        "decision": settlement.outcome,
        "allowed": True,
        "would_block": False,
        "reason": settlement.reason,
        "request_id": settlement.request_id,
        "replayed": settlement.replayed,
        "degraded": settlement.degraded,
        "user_id": settlement.user_id,
        "tier": settlement.tier,
        "rules_revision": settlement.rules_revision,
        "hold_state": STATE_AFTER[settlement.operation],
        "state_before": before,
        "cost_usd": usd_number(charged),
        "estimate_usd": usd_number(estimate),
        "overrun": charged > estimate and before is not HoldState.UNKNOWN,
        "late": before in {HoldState.EXPIRED, HoldState.RELEASED},
        "reconstructed": before is HoldState.UNKNOWN and not settlement.degraded,
        "unpriced": settlement.unpriced,
        **_top_line(lines, settlement.decider),
        "budgets": lines,
    }
    if settlement.deadline_ms is not None:
        fields["expires_at"] = rfc3339(settlement.deadline_ms)
    return fields


def _top_line(lines: list[dict[str, Any]], decider: int | None) -> dict[str, Any]:
    """Return what stands at the top of the budget that decided; all null without one."""
    if decider is None:
        return NO_RULE
    top = lines[decider].copy()
    del top["outcome"], top["seeded"]
    return top


def encode_budget(budget: Budget) -> dict[str, Any]:
    """Return one entry of `budgets`."""
    spend, remaining = budget.spend_nanos, budget.remaining_nanos
    return {
        **_terms(budget.terms),
        "outcome": budget.outcome,
        "spend_usd": usd_number(spend),
        "held_usd": usd_number(budget.held_nanos),
        "remaining_usd": None if remaining is None else usd_number(remaining),
        "percent": percent(spend, budget.terms.limit_nanos),
        "warning": None if budget.warning is None else encode_warning(budget.warning),
        "seeded": budget.seeded,
    }


def encode_warning(warning: Warning) -> dict[str, Any]:
    """Return a `warning`."""
    return {"kind": warning.kind, "threshold_pct": warning.threshold_pct, "first": warning.first}


@lru_cache(maxsize=4096)
def _terms(terms: BudgetTerms) -> dict[str, Any]:
    limit = terms.limit_nanos
    return {
        "rule_id": terms.rule_id,
        "rule_kind": terms.rule_kind,
        "action": terms.action,
        "limit_usd": None if limit is None else usd_number(limit),
        **window_fields(terms.window),
    }
