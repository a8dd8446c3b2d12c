"""Schemas of rule sets, usage and explanations, JSON Schema 2020-12."""

from typing import Any, Final

from ledger.price_parsing import MAX_PRICES
from ledger.rule_fields import ALLOWANCE, CHARGE, MAX_NOTE_LENGTH, MAX_REVISION, MAX_THRESHOLD_PCT, MAX_THRESHOLDS
from ledger.rule_parsing import MAX_RULES
from ledger.rules import Action, Mode, OnExpiry, PlanName, PolicyKind, RuleKind, RuleStatus
from ledger.windows import WeekStart, WindowType
from sidecar.api.openapi_schemas import (
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
)

LONG_WINDOWS: Final = ("daily", "weekly", "monthly")
PERCENT: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": MAX_THRESHOLD_PCT}
WHY_SKIPPED: Final = ("disabled", "expired", "overridden", "tier_has_template")


def rule_schemas() -> dict[str, Schema]:
    """Return the schemas of rule sets: in a file, in a push, and as answered."""
    revision: Schema = {"type": "integer", "minimum": 1, "maximum": MAX_REVISION}
    return {
        "Rule": _rule(),
        "Workspace": _workspace(),
        "Price": _price(),
        "RuleSet": _rule_set(COUNT | {"description": "0 before any rule set was in force."}),
        "PushedRuleSet": _rule_set(revision),
        "PushAnswer": closed({"revision": revision, "rules": COUNT, "changed": BOOLEAN}),
    }


def view_schemas() -> dict[str, Schema]:
    """Return the schemas of a user's usage and explanation, and of health."""
    return {
        "UserUsage": _user_usage(),
        "Explanation": _explanation(),
        "Health": closed({"status": {"type": "string"}, "rules_revision": COUNT}, optional=["rules_revision"]),
    }


def _rule_set(revision: Schema) -> Schema:
    fields = {
        "revision": revision,
        "workspace": nullable(ref("Workspace")),
        "rules": list_of(ref("Rule"), at_most=MAX_RULES),
        "prices": nullable(list_of(ref("Price"), at_most=MAX_PRICES)),
    }
    return closed(fields, optional=["workspace", "prices"])


def _rule() -> Schema:
    required = {"kind": one_of(RuleKind), "key": USER_ID, "limit_usd": nullable(ref("UsdAmount"))}
    thresholds = {**list_of(PERCENT, at_most=MAX_THRESHOLDS), "uniqueItems": True}
    optional: dict[str, Schema] = {
        "id": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"},
        "window": {"type": "string", "enum": [*map(str, WindowType), *LONG_WINDOWS], "default": "month"},
        "action": one_of(Action) | {"default": "warn"},
        "alert_thresholds_pct": thresholds | {"default": [80]},
        "alert_threshold_pct": PERCENT,
        "status": one_of(RuleStatus) | {"default": "active"},
        "timezone": {"type": "string", "description": "An IANA name; the workspace's by default."},
        "week_start": one_of(WeekStart),
        "on_store_failure": _policy(ALLOWANCE),
        "on_unpriced": _policy(CHARGE),
        "expires_at": MOMENT,
        "note": {"type": "string", "maxLength": MAX_NOTE_LENGTH},
    }
    nullables = {name: nullable(schema) for name, schema in optional.items()}
    return closed({**required, **nullables}, optional=optional)


def _policy(amount_field: str) -> Schema:
    return {
        "description": "By default deny for action block, else allow.",
        "anyOf": [{"enum": ["deny", "allow"]}, closed({amount_field: ref("UsdAmount")})],
    }


def _workspace() -> Schema:
    fields: dict[str, Schema] = {
        "timezone": {"type": "string", "default": "UTC"},
        "week_start": one_of(WeekStart) | {"default": "monday"},
        "plan": one_of(PlanName) | {"default": "growth"},
        "on_expiry": one_of(OnExpiry) | {"default": "charge"},
        "mode": one_of(Mode) | {"default": "enforce"},
    }
    return closed({name: nullable(schema) for name, schema in fields.items()}, optional=fields)


def _price() -> Schema:
    caches = {f"cache_{what}_usd_per_million": nullable(ref("UsdAmount")) for what in ("read", "write")}
    return closed(
        {
            "provider": nullable(USER_ID),
            "model": USER_ID,
            "input_usd_per_million": ref("UsdAmount"),
            "output_usd_per_million": ref("UsdAmount"),
            **caches,
        },
        optional=["provider", *caches],
    )


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
            "on_store_failure": one_of(PolicyKind),
            "on_unpriced": one_of(PolicyKind),
            "rules": list_of(ref("Rule")),
            "skipped": list_of(skipped),
        }
    )
