"""Schemas of rule sets, usage and explanations, JSON Schema 2020-12."""

from typing import Any, Final

from ledger.json_schema import (
    BOOLEAN,
    COUNT,
    MOMENT,
    TIER,
    USER_ID,
    Schema,
    closed,
    list_of,
    nullable,
    one_of,
    ref,
    told_policy,
)
from ledger.price_schema import price_schemas
from ledger.rule_fields import ALLOWANCE, CHARGE, MAX_REVISION
from ledger.rule_schema import rule, rule_set, workspace
from ledger.rules import Action, Mode, PlanName, RuleKind
from ledger.windows import WindowType

WHY_SKIPPED: Final = ("disabled", "expired", "overridden", "tier_has_template")


def rule_schemas() -> dict[str, Schema]:
    """Return the schemas of rule sets: in a file, in a push, and as answered."""
    revision: Schema = {"type": "integer", "minimum": 1, "maximum": MAX_REVISION}
    return {
        "Rule": rule(),
        "Workspace": workspace(),
        **price_schemas(),
        "RuleSet": rule_set(COUNT | {"description": "0 before any rule set was in force."}),
        "PushedRuleSet": rule_set(revision),
        "PushAnswer": closed({"revision": revision, "rules": COUNT, "changed": BOOLEAN}),
    }


def view_schemas() -> dict[str, Schema]:
    """Return the schemas of a user's usage and explanation, and of health."""
    return {
        "UserUsage": _user_usage(),
        "Explanation": _explanation(),
        "Health": closed({"status": {"type": "string"}, "rules_revision": COUNT}, optional=["rules_revision"]),
    }


def _window_fields() -> dict[str, Schema]:
    return {"window": one_of(WindowType), "window_start": MOMENT, "resets_at": MOMENT}


def _counter_fields() -> dict[str, Schema]:
    return {"spend_usd": ref("UsdNumber"), "held_usd": ref("UsdNumber"), "calls": COUNT}


def _user_fields() -> dict[str, Any]:
    return {"user_id": USER_ID, "tier": nullable(TIER), "at": MOMENT, "rules_revision": COUNT}


def _user_usage() -> Schema:
    budget = closed(
        {
            "rule_id": {"type": "string"},
            "rule_kind": one_of(RuleKind),
            "action": one_of(Action),
            **_window_fields(),
            "limit_usd": nullable(ref("UsdNumber")),
            **_counter_fields(),
            "remaining_usd": nullable(ref("UsdNumber")),
            "percent": nullable({"type": "number"}),
            "seeded": BOOLEAN,
        }
    )
    windows = list_of(closed({**_window_fields(), **_counter_fields()}))
    return closed({**_user_fields(), "open_holds": COUNT, "windows": windows, "budgets": list_of(budget)})


def _explanation() -> Schema:
    skipped = closed({"why": {"enum": list(WHY_SKIPPED)}, "rule": ref("Rule")})
    return closed(
        {
            **_user_fields(),
            "plan": one_of(PlanName),
            "mode": one_of(Mode),
            "counts_as_any_tier": BOOLEAN,
            "on_store_failure": told_policy(ALLOWANCE),
            "on_unpriced": told_policy(CHARGE),
            "rules": list_of(ref("Rule")),
            "skipped": list_of(skipped),
        }
    )
