"""Schemas of requests and answers, JSON Schema 2020-12, with the bounds that the code itself has."""

from typing import Any, Final

from ledger.decisions import MAX_TTL_S, HoldState, Outcome, Reason, WarningKind
from ledger.json_schema import (
    BOOLEAN,
    COUNT,
    MOMENT,
    NULL,
    TIER,
    USER_ID,
    Schema,
    closed,
    list_of,
    nullable,
    one_of,
    problem,
    ref,
    told_policy,
    usd_amount,
    usd_number,
)
from ledger.names import MAX_REQUEST_ID_LENGTH
from ledger.rule_fields import ALLOWANCE
from ledger.rules import Action, RuleKind
from ledger.usage import COUNT_FIELDS, MAX_TOKENS, Estimate
from ledger.windows import WindowType
from sidecar.api.decode import AMOUNT_FIELD, FIELDS, MAX_META_ENTRIES, MAX_OPERATIONS
from sidecar.api.decode_usage import REQUIRED_TOKENS

TOKENS: Final[Schema] = {"type": "integer", "minimum": 0, "maximum": MAX_TOKENS}


def request_schemas() -> dict[str, Schema]:
    """Return the schemas of what callers send, one for each operation."""
    operations = {f"{str(operation).capitalize()}Request": _request(operation) for operation in FIELDS}
    entries = [_batch_entry(str(operation), _request(operation)) for operation in FIELDS]
    return {
        "UsdAmount": usd_amount(),
        "Usage": _usage(),
        "ReserveUsage": _reserve_usage(),
        "Meta": _meta(),
        **operations,
        "BatchRequest": closed(
            {"operations": {**list_of({"oneOf": entries}, at_most=MAX_OPERATIONS), "minItems": 1}},
        ),
    }


def answer_schemas() -> dict[str, Schema]:
    """Return the schemas of what the sidecar answers about decisions and holds."""
    hold = {"reserved_at": MOMENT, "expires_at": MOMENT, "hold_state": one_of(HoldState)}
    retry = {"retry_after_ms": COUNT}
    policy = {"on_store_failure": _failure_policy()}
    return {
        "UsdNumber": usd_number(),
        "Warning": _warning(),
        "Budget": closed({**_budget_fields(nullable_all=False), "outcome": one_of(Outcome), "seeded": BOOLEAN}),
        "Decision": closed({**_decision_fields(), **policy, **retry}, optional=retry),
        "Reservation": closed({**_decision_fields(), **policy, **retry, **hold}, optional=[*retry, *hold]),
        "Settlement": closed({**_decision_fields(), **_settlement_fields()}, optional=["expires_at"]),
        "BatchAnswer": closed({"results": list_of(_batch_result(), at_most=MAX_OPERATIONS)}),
        "Problem": problem(),
    }


def _request(operation: Any) -> Schema:
    names = FIELDS[operation]
    required = {"user_id"} if operation == "check" else {"user_id", "request_id"}
    usage = ref("ReserveUsage" if operation == "reserve" else "Usage")
    properties = {
        name: schema if name in required else nullable(schema)
        for name, schema in _all_request_fields(usage).items()
        if name in names
    }
    schema = closed(properties, optional=properties.keys() - required)
    amount = AMOUNT_FIELD.get(operation)
    return schema if amount is None else schema | {"oneOf": _amount_or_usage(amount, usage)}


def _all_request_fields(usage: Schema) -> dict[str, Schema]:
    return {
        "request_id": {**USER_ID, "maxLength": MAX_REQUEST_ID_LENGTH},
        "user_id": USER_ID,
        "tier": TIER,
        "group": USER_ID,
        "cost_usd": ref("UsdAmount"),
        "estimate_usd": ref("UsdAmount"),
        "usage": usage,
        "ttl_s": {"type": "integer", "minimum": 1, "maximum": MAX_TTL_S},
        "reserved_at": MOMENT,
        "meta": ref("Meta"),
    }


def _amount_or_usage(amount: str, usage: Schema) -> list[Schema]:
    """Return the two ways to say an amount; null is the same as leaving the other one out."""
    return [
        {"required": [amount], "properties": {amount: ref("UsdAmount"), "usage": NULL}},
        {"required": ["usage"], "properties": {"usage": usage, amount: NULL}},
    ]


def _batch_entry(name: str, request: Schema) -> Schema:
    return request | {
        "properties": {"op": {"const": name}, **request["properties"]},
        "required": ["op", *request["required"]],
    }


def _batch_result() -> Schema:
    answers = [ref(name) for name in ("Decision", "Reservation", "Settlement")]
    return {"anyOf": [*answers, closed({"problem": ref("Problem")})]}


def _usage() -> Schema:
    counts = {name: TOKENS if name in REQUIRED_TOKENS else nullable(TOKENS) for name in COUNT_FIELDS}
    properties = {"provider": nullable(USER_ID), "model": USER_ID, **counts}
    return closed(properties, optional=properties.keys() - {"model", *REQUIRED_TOKENS})


def _reserve_usage() -> Schema:
    """Return the schema of a usage whose output may not be known yet."""
    schema = _usage()
    schema["properties"] |= {
        "output_tokens": nullable(TOKENS),
        "max_output_tokens": nullable(TOKENS),
        "estimate": nullable(one_of(Estimate)),
    }
    schema["required"].remove("output_tokens")
    only_known = {"output_tokens": TOKENS, "max_output_tokens": NULL, "estimate": NULL}
    known = {"required": ["output_tokens"], "properties": only_known}
    return schema | {"anyOf": [known, {"properties": {"output_tokens": NULL}}]}


def _meta() -> Schema:
    return {
        "description": "Kept with the event, never compared; at most 1,024 bytes as JSON.",
        "type": "object",
        "maxProperties": MAX_META_ENTRIES,
        "additionalProperties": {"type": ["string", "number", "boolean"]},
    }


def _warning() -> Schema:
    threshold: Schema = nullable({"type": "integer", "minimum": 1, "maximum": 100})
    return closed({"kind": one_of(WarningKind), "threshold_pct": threshold, "first": BOOLEAN})


def _budget_fields(*, nullable_all: bool) -> dict[str, Schema]:
    """Return the fields of a budget, which a decision repeats at its top; there all are null without a rule."""
    always = {
        "rule_id": {"type": "string"},
        "rule_kind": one_of(RuleKind),
        "action": one_of(Action),
        "spend_usd": ref("UsdNumber"),
        "held_usd": ref("UsdNumber"),
        "window": one_of(WindowType),
        "window_start": MOMENT,
        "resets_at": MOMENT,
    }
    return {
        **({name: nullable(schema) for name, schema in always.items()} if nullable_all else always),
        "limit_usd": nullable(ref("UsdNumber")),
        "remaining_usd": nullable(ref("UsdNumber")),
        "percent": nullable({"type": "number"}),
        "warning": nullable(ref("Warning")),
    }


def _decision_fields() -> dict[str, Schema]:
    return {
        "decision": one_of(Outcome),
        "allowed": BOOLEAN,
        "would_block": BOOLEAN,
        "reason": one_of(Reason),
        "request_id": {"type": "string"},
        "replayed": BOOLEAN,
        "degraded": BOOLEAN,
        "user_id": USER_ID,
        "tier": nullable(TIER),
        **_budget_fields(nullable_all=True),
        "budgets": list_of(ref("Budget")),
        "rules_revision": COUNT,
    }


def _failure_policy() -> Schema:
    return {
        "description": "What the rules say of this user's calls while the store, or this sidecar, does not answer.",
        **told_policy(ALLOWANCE),
    }


def _settlement_fields() -> dict[str, Schema]:
    return {
        "hold_state": one_of(HoldState),
        "state_before": one_of(HoldState),
        "cost_usd": ref("UsdNumber"),
        "estimate_usd": ref("UsdNumber"),
        "overrun": BOOLEAN,
        "late": BOOLEAN,
        "reconstructed": BOOLEAN,
        "unpriced": BOOLEAN,
        "expires_at": MOMENT,
    }
