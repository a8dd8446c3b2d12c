"""Schemas of events, users, usage, adjustments, tiers, the dry-run report and sidecars, JSON Schema 2020-12."""

from typing import Any, Final

from controlplane.adjusting import MAX_NOTE_LENGTH
from controlplane.api.openapi_rules import TEXT, page_of
from controlplane.sidecars import Standing
from ledger.events import EventType
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
from ledger.names import MAX_REQUEST_ID_LENGTH
from ledger.rule_fields import ALLOWANCE, CHARGE
from ledger.rule_schema import PERCENT
from ledger.rules import Action, Mode, PlanName, RuleKind
from ledger.windows import WeekStart, WindowType

WINDOW: Final = {"window": one_of(WindowType), "window_start": MOMENT, "resets_at": MOMENT}
NUMBER: Final[Schema] = {"type": "number"}
USD: Final = ref("UsdNumber")
COUNTER: Final = {"spend_usd": USD, "held_usd": USD, "calls": COUNT}
WHY_SKIPPED: Final = ("disabled", "expired", "overridden", "tier_has_template")
TIER_SOURCES: Final = ("query", "hold", "event")
SUMMARY: Final = (
    "revision",
    "current",
    "total",
    "own_rules",
    "stale",
    "store_trouble",
    "breaker_open",
    "recovering",
    "degraded_lately",
)


def read_schemas() -> dict[str, Schema]:
    """Return the schemas by name."""
    return {
        "Event": _event(),
        "Events": _events(),
        "UserUsage": closed(_usage()),
        "TierUsage": closed({"tier": USER_ID, "at": MOMENT, "revision": COUNT, "windows": list_of(ref("TierTotal"))}),
        "TierTotal": closed({**WINDOW, "spend_usd": USD, "calls": COUNT}),
        "User": closed({**_usage(), **_user()}),
        "UserDays": _days(),
        "Adjustment": _adjustment(),
        "Adjusted": _adjusted(),
        "Tier": _tier(),
        "Tiers": page_of("Tier", {"complete": BOOLEAN}),
        "DryRunLine": _dry_run_line(),
        "DryRun": page_of("DryRunLine", {"at": MOMENT, "calls": COUNT, "would_block_usd": USD, "complete": BOOLEAN}),
        "Sidecar": _sidecar(),
        "Sidecars": closed({"items": list_of(ref("Sidecar")), **dict.fromkeys(SUMMARY, COUNT)}),
    }


def _event() -> Schema:
    outcome = closed({"rule_id": TEXT, "outcome": TEXT})
    return closed(
        {
            "id": TEXT,
            "type": one_of(EventType),
            "at": MOMENT,
            "user_id": TEXT,
            "tier": nullable(TEXT),
            "request_id": TEXT,
            "group": nullable(TEXT),
            "model": nullable(TEXT),
            "price_version": nullable(TEXT),
            "reason": TEXT,
            "amount_usd": USD,
            "rule_id": nullable(TEXT),
            **{name: nullable(USD) for name in ("spend_usd", "held_usd", "limit_usd")},
            "percent": nullable(NUMBER),
            **{name: nullable(schema) for name, schema in WINDOW.items()},
            "outcomes": list_of(outcome),
            "meta": {"description": "What the caller sent along."},
        }
    )


def _events() -> Schema:
    bounds = {"entries": COUNT, "scanned_to": nullable(MOMENT), "trimmed_before": nullable(MOMENT)}
    return page_of("Event", {**bounds, "stream_cursor": nullable(TEXT)}, total=False)


def _usage() -> dict[str, Any]:
    budget = closed(
        {
            "rule_id": TEXT,
            "rule_kind": one_of(RuleKind),
            "key": USER_ID,
            "action": one_of(Action),
            "acts_as": nullable(one_of(Action)),
            "alert_thresholds_pct": list_of(PERCENT),
            "expires_at": nullable(MOMENT),
            **WINDOW,
            "limit_usd": nullable(USD),
            **COUNTER,
            "remaining_usd": nullable(USD),
            "percent": nullable(NUMBER),
            "seeded": BOOLEAN,
        }
    )
    return {
        "user_id": USER_ID,
        "tier": nullable(USER_ID),
        "tier_source": nullable({"enum": list(TIER_SOURCES)}),
        "at": MOMENT,
        "revision": COUNT,
        "windows": list_of(closed({**WINDOW, **COUNTER})),
        "budgets": list_of(budget),
        "open_holds": COUNT,
    }


def _user() -> dict[str, Any]:
    hold = closed(
        {
            "request_id": TEXT,
            "amount_usd": USD,
            "tier": nullable(TEXT),
            "model": nullable(TEXT),
            "reserved_at": MOMENT,
            "expires_at": MOMENT,
            "overdue": BOOLEAN,
        }
    )
    settings = {"timezone": TEXT, "week_start": one_of(WeekStart), "plan": one_of(PlanName), "mode": one_of(Mode)}
    skipped = closed({"why": {"enum": list(WHY_SKIPPED)}, "rule": ref("Rule")})
    return {
        "workspace": closed(settings),
        "counts_as_any_tier": BOOLEAN,
        "on_store_failure": told_policy(ALLOWANCE),
        "on_unpriced": told_policy(CHARGE),
        "rules": list_of(ref("Rule")),
        "skipped": list_of(skipped),
        "holds": closed({"items": list_of(hold), "total": COUNT}),
    }


def _days() -> Schema:
    day = closed({"day": {"type": "string", "format": "date"}, **WINDOW, **COUNTER})
    return closed({"user_id": USER_ID, "timezone": TEXT, "items": list_of(day)})


def _adjustment() -> Schema:
    note = {"type": "string", "minLength": 1, "maxLength": MAX_NOTE_LENGTH, "description": "Why, for the log."}
    amount = {
        "description": "USD, at most 9 decimals, not zero; below zero it is a credit.",
        "anyOf": [{"type": "number"}, {"type": "string", "pattern": r"^-?[0-9]{1,7}(\.[0-9]{1,9})?$"}],
    }
    return closed(
        {
            "request_id": {**USER_ID, "maxLength": MAX_REQUEST_ID_LENGTH},
            "usd": amount,
            "note": note,
            "at": nullable(MOMENT),
            "tier": nullable(TIER),
        },
        optional=["at", "tier"],
    )


def _adjusted() -> Schema:
    return closed(
        {
            "request_id": TEXT,
            "user_id": USER_ID,
            "tier": nullable(TIER),
            "usd": USD,
            "stored_at": MOMENT,
            "replayed": BOOLEAN,
            "windows": list_of(closed({**WINDOW, **COUNTER})),
        }
    )


def _tier() -> Schema:
    return closed(
        {
            "tier": USER_ID,
            "is_any_tier": BOOLEAN,
            "has_template": BOOLEAN,
            "templates": list_of(TEXT),
            "windows": list_of(ref("TierTotal")),
            "last_window_end": nullable(MOMENT),
        }
    )


def _dry_run_line() -> Schema:
    return closed(
        {
            "rule_id": TEXT,
            "kind": one_of(RuleKind),
            "key": USER_ID,
            "action": one_of(Action),
            "limit_usd": nullable(USD),
            **WINDOW,
            "calls": COUNT,
            "users": COUNT,
            "would_block_usd": USD,
        }
    )


def _sidecar() -> Schema:
    return closed(
        {
            "id": TEXT,
            "host": TEXT,
            "version": TEXT,
            "standing": one_of(Standing),
            "revision": COUNT,
            "rules_source": {"enum": ["file", "push", "store"]},
            "store_ok": BOOLEAN,
            "breaker_open": BOOLEAN,
            "recovering": BOOLEAN,
            "journal_pending": COUNT,
            "degraded_decisions": COUNT,
            "degraded_at": nullable(MOMENT),
            "started_at": MOMENT,
            "seen_at": MOMENT,
            "age_s": COUNT,
        }
    )
