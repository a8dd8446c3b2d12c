"""Decoded bodies to requests, validated once: unknown fields, types, bounds, one way of saying the amount."""

import math
from collections.abc import Mapping
from typing import Any, Final

import orjson

from ledger.decisions import DEFAULT_TTL_S, MAX_TTL_S, Operation
from ledger.errors import InvalidInput
from ledger.moments import parse_moment
from ledger.money import parse_usd
from ledger.names import parse_name, parse_request_id
from ledger.usage import Usage
from sidecar.api.decode_usage import decode_usage
from sidecar.requests import AdmitRequest, Request, ResolveRequest

MAX_META_ENTRIES: Final = 16
MAX_META_BYTES: Final = 1024
MAX_OPERATIONS: Final = 256

FIELDS: Final[Mapping[Operation, frozenset[str]]] = {
    Operation.CHECK: frozenset({"request_id", "user_id", "tier", "group", "cost_usd", "usage", "meta"}),
    Operation.RESERVE: frozenset({"request_id", "user_id", "tier", "group", "estimate_usd", "usage", "ttl_s", "meta"}),
    Operation.SETTLE: frozenset({"request_id", "user_id", "tier", "group", "cost_usd", "usage", "reserved_at"}),
    Operation.RELEASE: frozenset({"request_id", "user_id"}),
    Operation.EXTEND: frozenset({"request_id", "user_id", "ttl_s"}),
}
USUAL: Final = frozenset({"request_id", "user_id", "tier", "cost_usd", "estimate_usd", "usage"})
"""What most checks and reserves have, and no more."""
AMOUNT_FIELD: Final = {
    Operation.CHECK: "cost_usd",
    Operation.RESERVE: "estimate_usd",
    Operation.SETTLE: "cost_usd",
}


def decode_request(operation: Operation, body: object) -> Request:
    """Return the request of one operation; raises `InvalidInput` naming the first wrong field."""
    fields = _object(body, FIELDS[operation])
    user_id = parse_name(_required(fields, "user_id"), field="user_id")
    if operation is Operation.CHECK or operation is Operation.RESERVE:
        return _admit(operation, user_id, fields)
    return _resolve(operation, user_id, fields)


def decode_batch(body: object) -> list[Request | InvalidInput]:
    """Return the operations of a batch in order; one that is wrong stands there as its error.

    Raises `InvalidInput` when the batch itself is wrong.
    """
    operations = _required(_object(body, frozenset({"operations"})), "operations")
    if not isinstance(operations, list) or not 1 <= len(operations) <= MAX_OPERATIONS:
        raise InvalidInput(f"operations must be a list of 1 to {MAX_OPERATIONS}", field="operations")
    return [_decode_entry(index, entry) for index, entry in enumerate(operations)]


def _decode_entry(index: int, entry: object) -> Request | InvalidInput:
    path = f"operations[{index}]"
    if not isinstance(entry, dict):
        return InvalidInput(f"{path} must be an object", field=path)
    fields = dict(entry)
    name = fields.pop("op", None)
    if not isinstance(name, str) or name not in {str(operation) for operation in FIELDS}:
        return InvalidInput(f"{path}.op must be one of {', '.join(FIELDS)}", field=f"{path}.op")
    try:
        return decode_request(Operation(name), fields)
    except InvalidInput as error:
        field = f"{path}.{error.field}" if error.field else path
        return InvalidInput(f"{path}: {error.message}", field=field)


def _admit(operation: Operation, user_id: str, fields: dict[str, Any]) -> AdmitRequest:
    request_id = fields.get("request_id")
    if request_id is not None or operation is Operation.RESERVE:
        request_id = parse_request_id(_required(fields, "request_id"), field="request_id")
    amount_nanos, usage = _amount_or_usage(fields, operation)
    request = AdmitRequest(operation, user_id, request_id, _tier(fields), amount_nanos=amount_nanos, usage=usage)
    if not USUAL.issuperset(fields):
        meta = fields.get("meta")
        request.group, request.ttl_s = _group(fields), _ttl_s(fields)
        request.meta = "" if meta is None else _meta(meta)
    return request


def _resolve(operation: Operation, user_id: str, fields: dict[str, Any]) -> ResolveRequest:
    amount_nanos, usage = None, None
    if operation is Operation.SETTLE:
        amount_nanos, usage = _amount_or_usage(fields, operation)
    reserved_at = fields.get("reserved_at")
    return ResolveRequest(
        operation=operation,
        user_id=user_id,
        request_id=parse_request_id(_required(fields, "request_id"), field="request_id"),
        tier=_tier(fields),
        group=_group(fields),
        amount_nanos=amount_nanos,
        usage=usage,
        ttl_s=_ttl_s(fields),
        reserved_at_ms=None if reserved_at is None else parse_moment(reserved_at, field="reserved_at"),
    )


def _object(body: object, known: frozenset[str]) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise InvalidInput("the body must be an object", code="invalid_body")
    if not known.issuperset(body):
        unknown = min(str(name) for name in body if name not in known)
        raise InvalidInput(f"{unknown} is not a field of this operation ({', '.join(sorted(known))})", field=unknown)
    return body


def _required(fields: dict[str, Any], name: str) -> Any:
    value = fields.get(name)
    if value is None:
        raise InvalidInput(f"{name} is required", field=name)
    return value


def _tier(fields: dict[str, Any]) -> str | None:
    tier = fields.get("tier")
    return None if tier is None else parse_name(tier, field="tier", refuse_any_tier=True)


def _group(fields: dict[str, Any]) -> str | None:
    group = fields.get("group")
    return None if group is None else parse_name(group, field="group")


def _ttl_s(fields: dict[str, Any]) -> int:
    ttl_s = fields.get("ttl_s")
    if ttl_s is None:
        return DEFAULT_TTL_S
    if isinstance(ttl_s, bool) or not isinstance(ttl_s, int) or not 1 <= ttl_s <= MAX_TTL_S:
        raise InvalidInput(f"ttl_s must be a whole number from 1 to {MAX_TTL_S}", field="ttl_s")
    return ttl_s


def _amount_or_usage(fields: dict[str, Any], operation: Operation) -> tuple[int | None, Usage | None]:
    name = AMOUNT_FIELD[operation]
    amount, usage = fields.get(name), fields.get("usage")
    if (amount is None) == (usage is None):
        raise InvalidInput(f"give either {name} or usage", field=name)
    if usage is not None:
        return None, decode_usage(usage, may_estimate=operation is Operation.RESERVE)
    return parse_usd(amount, field=name), None


def _meta(value: object) -> str:
    if not isinstance(value, dict) or len(value) > MAX_META_ENTRIES:
        raise InvalidInput(f"meta must be an object of at most {MAX_META_ENTRIES} entries", field="meta")
    for entry in value.values():
        if not isinstance(entry, str | int | float | bool):
            raise InvalidInput("meta's values must be text, numbers or booleans", field="meta")
        if isinstance(entry, float) and not math.isfinite(entry):
            raise InvalidInput("meta's numbers must be finite", field="meta")
    try:
        text = orjson.dumps(value)
    except TypeError:
        raise InvalidInput("meta cannot be written as JSON", field="meta") from None
    if len(text) > MAX_META_BYTES:
        raise InvalidInput(f"meta has more than {MAX_META_BYTES} bytes as JSON", field="meta")
    return text.decode()
