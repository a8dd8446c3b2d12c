"""JSON Schema 2020-12 of rules, workspace settings and rule sets, with the bounds that the parsers have."""

from typing import Final

from ledger.json_schema import (
    MOMENT,
    USER_ID,
    Schema,
    closed,
    list_of,
    nullable,
    one_of,
    ref,
)
from ledger.rule_fields import ALLOWANCE, CHARGE, MAX_NOTE_LENGTH, MAX_THRESHOLD_PCT, MAX_THRESHOLDS
from ledger.rule_parsing import MAX_RULES
from ledger.rules import Action, Mode, OnExpiry, PlanName, RuleKind, RuleStatus
from ledger.usage import Estimate
from ledger.windows import WeekStart, WindowType

LONG_WINDOWS: Final = ("daily", "weekly", "monthly")
PERCENT: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": MAX_THRESHOLD_PCT}


def rule_set(revision: Schema) -> Schema:
    """Return the schema of a whole rule set, given the schema of its revision."""
    fields = {
        "revision": revision,
        "workspace": nullable(ref("Workspace")),
        "rules": list_of(ref("Rule"), at_most=MAX_RULES),
        "prices": nullable(ref("Prices")),
    }
    return closed(fields, optional=["workspace", "prices"])


def rule() -> Schema:
    """Return the schema of a rule as callers send it; null is the same as leaving a field out."""
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
        "wait_for_replica": {"type": "boolean", "default": False},
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


def workspace() -> Schema:
    """Return the schema of the workspace's settings."""
    fields: dict[str, Schema] = {
        "timezone": {"type": "string", "default": "UTC"},
        "week_start": one_of(WeekStart) | {"default": "monday"},
        "plan": one_of(PlanName) | {"default": "growth"},
        "on_expiry": one_of(OnExpiry) | {"default": "charge"},
        "mode": one_of(Mode) | {"default": "enforce"},
        "estimate": one_of(Estimate) | {"default": "max_tokens"},
    }
    return closed({name: nullable(schema) for name, schema in fields.items()}, optional=fields)
