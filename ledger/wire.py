"""What counters, windows and shares of limits are called on the wire: the same in the sidecar and the control plane."""

from typing import Any

from ledger.decisions import CounterState, Settlement
from ledger.money import usd_number
from ledger.rules import Policy, PolicyKind
from ledger.windows import Window, rfc3339


def percent(spend_nanos: int, limit_nanos: int | None) -> float | None:
    """Return spend as percent of the limit, rounded down to two decimals; 100 for a limit of zero."""
    if limit_nanos is None:
        return None
    if limit_nanos == 0:
        return 100.0
    return spend_nanos * 10_000 // limit_nanos / 100


def policy_value(policy: Policy, amount_field: str) -> object:
    """Return a policy in the words of a rule file, its amount as a number: ``deny``, ``{"allow_up_to_usd": 2.0}``."""
    return {amount_field: usd_number(policy.amount_nanos)} if policy.kind is PolicyKind.AMOUNT else policy.kind


def window_fields(window: Window) -> dict[str, Any]:
    """Return what a window is called and when it starts and ends."""
    return {
        "window": window.type,
        "window_start": rfc3339(window.start_s * 1000),
        "resets_at": rfc3339(window.end_s * 1000),
    }


def counter_fields(counter: CounterState) -> dict[str, Any]:
    """Return what was spent and is held, and the number of calls."""
    return {
        "spend_usd": usd_number(counter.spend_nanos),
        "held_usd": usd_number(counter.held_nanos),
        "calls": counter.calls,
    }


def charge_fields(settlement: Settlement, *, model: str, group: str | None) -> dict[str, Any]:
    """Return the answer to a usage event that was charged."""
    return {
        "request_id": settlement.request_id,
        "replayed": settlement.replayed,
        "user_id": settlement.user_id or None,
        "tier": settlement.tier,
        "group": group,
        "model": model,
        "cost_usd": usd_number(settlement.charged_nanos),
        "unpriced": settlement.unpriced,
        "recorded_at": rfc3339(settlement.at_ms),
    }


def budget_fields(counter: CounterState, limit_nanos: int | None) -> dict[str, Any]:
    """Return a counter beside its limit; limit, remaining and percent are null for unlimited."""
    remaining = None if limit_nanos is None else limit_nanos - counter.spend_nanos - counter.held_nanos
    return {
        "limit_usd": None if limit_nanos is None else usd_number(limit_nanos),
        **counter_fields(counter),
        "remaining_usd": None if remaining is None else usd_number(remaining),
        "percent": percent(counter.spend_nanos, limit_nanos),
        "seeded": counter.seeded,
    }
