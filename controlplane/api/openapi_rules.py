"""Schemas of rules, settings, whole rule sets, the audit trail and sessions, JSON Schema 2020-12."""

from typing import Any, Final

from controlplane.auth import MAX_ACTOR_LENGTH, Scope
from controlplane.rule_rows import INHERITED_FIELDS, NO_BUDGET, RuleState
from ledger.json_schema import (
    BOOLEAN,
    COUNT,
    MOMENT,
    USER_ID,
    Schema,
    closed,
    list_of,
    nullable,
    one_of,
    problem,
    ref,
    usd_amount,
    usd_number,
)
from ledger.price_schema import price_schemas
from ledger.rule_changes import ChangeKind
from ledger.rule_fields import ALLOWANCE, CHARGE, MAX_NOTE_LENGTH
from ledger.rule_schema import PERCENT, rule, rule_set, workspace
from ledger.rules import Action, RuleStatus
from ledger.windows import WeekStart, WindowType

TEXT: Final[Schema] = {"type": "string"}
NOTE: Final[Schema] = {
    "type": "string",
    "maxLength": MAX_NOTE_LENGTH,
    "description": "Why, for the audit trail; printable text.",
}
ANYTHING: Final[Schema] = {"type": "object"}
COUNTED: Final = ("added", "changed", "removed", "unchanged")


def rule_schemas() -> dict[str, Schema]:
    """Return the schemas by name."""
    return {
        "UsdAmount": usd_amount(),
        "UsdNumber": usd_number(),
        "Rule": rule(),
        "Workspace": workspace(),
        **price_schemas(),
        "RuleSet": _rule_set(),
        "TemplateBody": _body("tier_template"),
        "OverrideBody": _body("user_override"),
        "TemplateRow": _row("tier_template", {}),
        "OverrideRow": _row("user_override", _budget_fields()),
        "Templates": _page("TemplateRow", {"at": MOMENT, "has_spend": BOOLEAN}),
        "Overrides": _page("OverrideRow", {"at": MOMENT, "has_spend": BOOLEAN}),
        "SettingsBody": _settings_body(),
        "Settings": _settings(),
        "PricesResult": _prices_result(),
        "Delta": _delta(),
        "ImportDiff": _diff(),
        "ImportResult": closed({"revision": COUNT, "counts": _counts(*COUNTED)}),
        "OverridePreview": _preview(),
        "RestoreBody": closed(
            {"revision": COUNT | {"minimum": 1}, "change_note": nullable(NOTE)}, optional=["change_note"]
        ),
        "Change": _change(),
        "Trail": _page("Change", {}, total=False),
        "Session": closed({"scope": nullable(one_of(Scope)), "actor": nullable(TEXT), "needs_token": BOOLEAN}),
        "LogIn": _log_in(),
        "Problem": _problem(),
    }


def page_of(item: str, more: dict[str, Schema], *, total: bool = True) -> Schema:
    """Return the schema of a page of a list."""
    return _page(item, more, total=total)


def _page(item: str, more: dict[str, Schema], *, total: bool = True) -> Schema:
    return closed(
        {
            "items": list_of(ref(item)),
            "next_cursor": nullable(TEXT),
            "total": COUNT if total else {"type": "null"},
            "revision": COUNT,
            **more,
        }
    )


def _restore_body() -> Schema:
    revision = {**COUNT, "minimum": 1}
    return closed({"revision": revision, "change_note": nullable(NOTE)}, optional=["change_note"])


def _rule_set() -> Schema:
    schema = rule_set(COUNT | {"minimum": 1})
    return schema | {"required": ["rules"]}


def _body(kind: str) -> Schema:
    """Return what is put for a rule; its kind and id follow from where it is put."""
    schema = rule()
    fixed = {"kind": nullable({"const": kind}), "change_note": nullable(NOTE)}
    key = USER_ID if kind == "tier_template" else {**USER_ID, "not": {"const": "*"}}
    properties = {**schema["properties"], **fixed, "key": key}
    return {**schema, "properties": properties, "required": ["key", "limit_usd"]}


def _policy(amount_field: str) -> Schema:
    return {"anyOf": [{"enum": ["deny", "allow"]}, closed({amount_field: ref("UsdNumber")})]}


def _row(kind: str, more: dict[str, Schema]) -> Schema:
    return closed(
        {
            "id": TEXT,
            "kind": {"const": kind},
            "key": USER_ID,
            "limit_usd": nullable(ref("UsdNumber")),
            "window": one_of(WindowType),
            "action": one_of(Action),
            "alert_thresholds_pct": list_of(PERCENT),
            "status": one_of(RuleStatus),
            "timezone": TEXT,
            "week_start": one_of(WeekStart),
            "on_store_failure": _policy(ALLOWANCE),
            "on_unpriced": _policy(CHARGE),
            "wait_for_replica": {"type": "boolean"},
            "expires_at": nullable(MOMENT),
            "note": TEXT,
            "inherited": list_of({"enum": list(INHERITED_FIELDS)}),
            "state": one_of(RuleState),
            "revision": COUNT,
            "created_at": MOMENT,
            "updated_at": MOMENT,
            "updated_by": TEXT,
            "spend_usd": nullable(ref("UsdNumber")),
            "calls": nullable(COUNT),
            "window_start": nullable(MOMENT),
            "resets_at": nullable(MOMENT),
            **more,
        }
    )


def _budget_fields() -> dict[str, Schema]:
    shares = {"percent": nullable({"type": "number"})}
    return {name: shares.get(name, nullable(ref("UsdNumber"))) for name in NO_BUDGET}


def _settings_body() -> Schema:
    schema = workspace()
    properties = {**schema["properties"], "change_note": nullable(NOTE)}
    return {**schema, "properties": properties}


def _settings() -> Schema:
    fields = {name: {"type": "string"} for name in workspace()["properties"]}
    counts = dict.fromkeys(("revision", "rules_revision", "rules", "prices"), COUNT)
    return closed({**fields, **counts, "price_version": TEXT, "prices_built_at": nullable(MOMENT)})


def _prices_result() -> Schema:
    return closed({"revision": COUNT, "version": TEXT, "built_at": nullable(MOMENT), "prices": COUNT})


def _delta() -> Schema:
    return closed({"id": TEXT, "before": nullable(ref("Rule")), "after": nullable(ref("Rule"))})


def _swap() -> Schema:
    return nullable(closed({"before": ref("Workspace"), "after": ref("Workspace")}))


def _price_versions() -> Schema:
    return nullable(closed({"before": TEXT, "after": TEXT}))


def _counts(*names: str) -> Schema:
    return closed(dict.fromkeys(names, COUNT))


def _diff() -> Schema:
    changes = {name: list_of(ref("Delta")) for name in ("added", "changed", "removed")}
    prices = {"prices_change": BOOLEAN, "price_versions": _price_versions()}
    return closed({"revision": COUNT, "counts": _counts(*COUNTED), **changes, "settings": _swap(), **prices})


def _preview() -> Schema:
    fault = closed({"line": COUNT, "field": TEXT, "message": TEXT})
    return closed(
        {
            **dict.fromkeys(("added", "changed", "unchanged"), COUNT),
            "faults": list_of(fault),
            "fault_count": COUNT,
            "rows": list_of(ref("Delta")),
            "revision": COUNT,
        }
    )


def _change() -> Schema:
    return closed(
        {
            "revision": COUNT,
            "at": MOMENT,
            "actor": TEXT,
            "note": TEXT,
            "kind": one_of(ChangeKind),
            "counts": _counts("added", "changed", "removed"),
            "changes": list_of(ref("Delta")),
            "settings": _swap(),
            "prices_changed": BOOLEAN,
            "price_versions": _price_versions(),
            "truncated": BOOLEAN,
        }
    )


def _log_in() -> Schema:
    name = {**USER_ID, "maxLength": MAX_ACTOR_LENGTH, "description": "How the audit trail calls who logs in."}
    return closed({"token": TEXT, "name": nullable(name)}, optional=["name"])


def _problem() -> Schema:
    """Return the schema of a problem; a refused change carries what stands in its way as it is now."""
    schema = problem()
    current: dict[str, Any] = {"anyOf": [ref("TemplateRow"), ref("OverrideRow"), ref("Settings")]}
    return {**schema, "properties": {**schema["properties"], "current": current}}
