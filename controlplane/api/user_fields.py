"""A user, a user's days and an adjustment on the wire."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from controlplane.usage import BudgetNow, UserNow
from ledger.adjustments import Adjusted
from ledger.decisions import CounterState
from ledger.money import usd_number
from ledger.plans import effective_action
from ledger.rule_fields import ALLOWANCE, CHARGE
from ledger.rule_parsing import dump_rule
from ledger.rules import Rule, Workspace
from ledger.spend_reader import DaySpend, OpenHold
from ledger.windows import rfc3339
from ledger.wire import budget_fields, counter_fields, policy_value, window_fields


def user_fields(user: UserNow) -> dict[str, Any]:
    """Return a user now: what applies, what was spent and is held, and why."""
    calendar = user.workspace.calendar
    return {
        **usage_fields(user),
        "workspace": workspace_fields(user.workspace),
        "counts_as_any_tier": user.match.counts_as_any_tier,
        "on_store_failure": policy_value(user.on_store_failure, ALLOWANCE),
        "on_unpriced": policy_value(user.on_unpriced, CHARGE),
        "rules": [dump_rule(rule, calendar) for rule in user.match.rules],
        "skipped": [{"why": entry.why, "rule": dump_rule(entry.rule, calendar)} for entry in user.match.skipped],
        "holds": {
            "items": [_hold(hold, user.at_ms) for hold in user.holds.holds],
            "total": user.holds.count,
        },
    }


def usage_fields(user: UserNow) -> dict[str, Any]:
    """Return a user's windows and budgets, and how many holds are open."""
    return {
        "user_id": user.user_id,
        "tier": user.tier,
        "tier_source": user.tier_source,
        "at": rfc3339(user.at_ms),
        "revision": user.rules_revision,
        "windows": [{**window_fields(entry.window), **counter_fields(entry.counter)} for entry in user.windows],
        "budgets": [_budget(entry, user.workspace) for entry in user.budgets],
        "open_holds": user.holds.count,
    }


def workspace_fields(workspace: Workspace) -> dict[str, Any]:
    """Return the settings that decide what a user's numbers mean."""
    return {
        "timezone": workspace.calendar.timezone,
        "week_start": workspace.calendar.week_start,
        "plan": workspace.plan,
        "mode": workspace.mode,
    }


def _budget(entry: BudgetNow, workspace: Workspace) -> dict[str, Any]:
    rule: Rule = entry.rule
    return {
        "rule_id": rule.id,
        "rule_kind": rule.kind,
        "key": rule.key,
        "action": rule.action,
        "acts_as": effective_action(rule, workspace),
        "alert_thresholds_pct": list(rule.thresholds_pct),
        "expires_at": None if rule.expires_at_ms is None else rfc3339(rule.expires_at_ms),
        **window_fields(entry.window),
        **budget_fields(entry.counter, rule.limit_nanos),
    }


def _hold(hold: OpenHold, at_ms: int) -> dict[str, Any]:
    return {
        "request_id": hold.request_id,
        "amount_usd": usd_number(hold.amount_nanos),
        "tier": hold.tier or None,
        "model": hold.model or None,
        "reserved_at": rfc3339(hold.reserved_at_ms),
        "expires_at": rfc3339(hold.deadline_ms),
        "overdue": hold.deadline_ms <= at_ms,
    }


def days_fields(user_id: str, timezone: str, days: Sequence[DaySpend]) -> dict[str, Any]:
    """Return a user's spend by day, the oldest first; `day` is the local date of a zone."""
    zone = ZoneInfo(timezone)
    items = [
        {
            "day": datetime.fromtimestamp(entry.window.start_s, tz=zone).date().isoformat(),
            **window_fields(entry.window),
            **counter_fields(entry.counter),
        }
        for entry in days
    ]
    return {"user_id": user_id, "timezone": timezone, "items": items}


def adjusted_fields(adjusted: Adjusted) -> dict[str, Any]:
    """Return the answer to an adjustment."""
    windows = [
        {
            **window_fields(entry.window),
            **counter_fields(CounterState(entry.spend_nanos, entry.held_nanos, entry.calls, seeded=False)),
        }
        for entry in adjusted.windows
    ]
    return {
        "request_id": adjusted.request_id,
        "user_id": adjusted.user_id,
        "tier": adjusted.tier,
        "usd": usd_number(adjusted.amount_nanos),
        "stored_at": rfc3339(adjusted.stored_ms),
        "replayed": adjusted.replayed,
        "windows": windows,
    }
