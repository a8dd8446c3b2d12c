"""Schemas of requests and answers, JSON Schema 2020-12, with the bounds that the code itself has."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final

from ledger.decisions import MAX_TTL_S, HoldState, Outcome, Reason, WarningKind
from ledger.money import CAP_NANOS, NANOS_PER_USD
from ledger.names import MAX_NAME_LENGTH, MAX_REQUEST_ID_LENGTH
from ledger.prices import MAX_TOKENS
from ledger.rules import Action, RuleKind
from ledger.windows import WindowType
from sidecar.api.decode import AMOUNT_FIELD, FIELDS, MAX_META_ENTRIES, MAX_OPERATIONS, REQUIRED_TOKENS, TOKEN_FIELDS

Schema = dict[str, Any]

USD_PATTERN: Final = r"^([0-7]?[0-9]{1,6}(\.[0-9]{1,9})?|8000000(\.0{1,9})?)$"
MOMENT: Final[Schema] = {"type": "string", "format": "date-time"}
BOOLEAN: Final[Schema] = {"type": "boolean"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
NULL: Final[Schema] = {"type": "null"}
UNPRINTABLE: Final = (
    r"\u0000-\u001f\u007f-\u00a0\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u1680\u180e"
    r"\u2000-\u200f\u2028-\u202f\u205f-\u2064\u2066-\u206f\u3000\ue000-\uf8ff\ufeff\ufff9-\ufffb"
)
"""What `str.isprintable` refuses among the assigned characters of Unicode's first plane, as part of a pattern."""
PRINTABLE_PATTERN: Final = f"^[^{UNPRINTABLE}]+$"
USER_ID: Final[Schema] = {
    "description": "Printable characters, compared exactly.",
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_NAME_LENGTH,
    "pattern": PRINTABLE_PATTERN,
}
TIER: Final[Schema] = {**USER_ID, "not": {"const": "*"}}


def ref(name: str) -> Schema:
    """Return the reference to a schema of this document."""
    return {"$ref": f"#/components/schemas/{name}"}


def closed(properties: dict[str, Schema], *, optional: Iterable[str] = ()) -> Schema:
    """Return the schema of an object that has exactly these properties, all required but the optional ones."""
    absent = frozenset(optional)
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in absent],
        "additionalProperties": False,
    }


def one_of(words: type[StrEnum]) -> Schema:
    """Return the schema of an enum's words."""
    return {"type": "string", "enum": [str(word) for word in words]}


def nullable(schema: Schema) -> Schema:
    """Return a schema that also admits null."""
    return {"anyOf": [schema, NULL]}


def list_of(schema: Schema, *, at_most: int | None = None) -> Schema:
    """Return the schema of a list."""
    bound = {} if at_most is None else {"maxItems": at_most}
    return {"type": "array", "items": schema, **bound}


def request_schemas() -> dict[str, Schema]:
    """Return the schemas of what callers send, one for each operation."""
    operations = {f"{str(operation).capitalize()}Request": _request(operation) for operation in FIELDS}
    entries = [_batch_entry(str(operation), _request(operation)) for operation in FIELDS]
    return {
        "UsdAmount": _usd_amount(),
        "Usage": _usage(),
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
    return {
        "UsdNumber": _usd_number(),
        "Warning": _warning(),
        "Budget": closed({**_budget_fields(nullable_all=False), "outcome": one_of(Outcome), "seeded": BOOLEAN}),
        "Decision": closed({**_decision_fields(), **retry}, optional=retry),
        "Reservation": closed({**_decision_fields(), **retry, **hold}, optional=[*retry, *hold]),
        "Settlement": closed({**_decision_fields(), **_settlement_fields()}, optional=["expires_at"]),
        "BatchAnswer": closed({"results": list_of(_batch_result(), at_most=MAX_OPERATIONS)}),
        "Problem": _problem(),
    }


def _request(operation: Any) -> Schema:
    names = FIELDS[operation]
    required = {"user_id"} if operation == "check" else {"user_id", "request_id"}
    properties = {
        name: schema if name in required else nullable(schema)
        for name, schema in _all_request_fields().items()
        if name in names
    }
    schema = closed(properties, optional=properties.keys() - required)
    amount = AMOUNT_FIELD.get(operation)
    return schema if amount is None else schema | {"oneOf": _amount_or_usage(amount)}


def _all_request_fields() -> dict[str, Schema]:
    return {
        "request_id": {**USER_ID, "maxLength": MAX_REQUEST_ID_LENGTH},
        "user_id": USER_ID,
        "tier": TIER,
        "cost_usd": ref("UsdAmount"),
        "estimate_usd": ref("UsdAmount"),
        "usage": ref("Usage"),
        "ttl_s": {"type": "integer", "minimum": 1, "maximum": MAX_TTL_S},
        "reserved_at": MOMENT,
        "meta": ref("Meta"),
    }


def _amount_or_usage(amount: str) -> list[Schema]:
    """Return the two ways to say an amount; null is the same as leaving the other one out."""
    return [
        {"required": [amount], "properties": {amount: ref("UsdAmount"), "usage": NULL}},
        {"required": ["usage"], "properties": {"usage": ref("Usage"), amount: NULL}},
    ]


def _batch_entry(name: str, request: Schema) -> Schema:
    return request | {
        "properties": {"op": {"const": name}, **request["properties"]},
        "required": ["op", *request["required"]],
    }


def _batch_result() -> Schema:
    answers = [ref(name) for name in ("Decision", "Reservation", "Settlement")]
    return {"anyOf": [*answers, closed({"problem": ref("Problem")})]}


def _usd_amount() -> Schema:
    return {
        "description": "USD, at most 9 decimals; a number, or a decimal string where numbers lose digits.",
        "anyOf": [
            {"type": "number", "minimum": 0, "maximum": CAP_NANOS // NANOS_PER_USD},
            {"type": "string", "pattern": USD_PATTERN},
        ],
    }


def _usd_number() -> Schema:
    return {
        "description": "USD; a number that reads back to the same nano-USD, a decimal string beyond 8,000,000 USD.",
        "type": ["number", "string"],
    }


def _usage() -> Schema:
    tokens: Schema = {"type": "integer", "minimum": 0, "maximum": MAX_TOKENS}
    counts = {name: tokens if name in REQUIRED_TOKENS else nullable(tokens) for name in TOKEN_FIELDS}
    properties = {"provider": nullable(USER_ID), "model": USER_ID, **counts}
    return closed(properties, optional=properties.keys() - {"model", *REQUIRED_TOKENS})


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


def _problem() -> Schema:
    fault = closed({"path": {"type": "string"}, "message": {"type": "string"}})
    return closed(
        {
            "type": {"type": "string", "format": "uri-reference"},
            "title": {"type": "string"},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string"},
            "code": {"type": "string", "pattern": "^[a-z0-9_]+$"},
            "field": {"type": "string"},
            "faults": list_of(fault),
        },
        optional=["field", "faults"],
    )
