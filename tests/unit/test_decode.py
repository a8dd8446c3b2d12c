"""Bodies to requests: what is read, and what is refused under which field."""

from typing import Any

import msgpack
import orjson
import pytest

from ledger.decisions import Operation
from ledger.errors import InvalidInput
from ledger.usage import MAX_TOKENS, Usage
from ledger.windows import rfc3339
from sidecar.api.bodies import JSON, MSGPACK, UnsupportedMediaType, decode_body
from sidecar.api.decode import MAX_META_BYTES, MAX_OPERATIONS, decode_batch, decode_request
from sidecar.requests import AdmitRequest, ResolveRequest

CHECK: dict[str, Any] = {"user_id": "alice", "cost_usd": 0.25}
RESERVE: dict[str, Any] = {"user_id": "alice", "request_id": "r-1", "estimate_usd": 0.5}
SETTLE: dict[str, Any] = {"user_id": "alice", "request_id": "r-1", "cost_usd": 0.5}
RELEASE: dict[str, Any] = {"user_id": "alice", "request_id": "r-1"}
BODIES = {
    Operation.CHECK: CHECK,
    Operation.RESERVE: RESERVE,
    Operation.SETTLE: SETTLE,
    Operation.RELEASE: RELEASE,
    Operation.EXTEND: RELEASE,
}
USAGE: dict[str, Any] = {"model": "gpt-5", "input_tokens": 10, "output_tokens": 20}


def _refusal(operation: Operation, body: object) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        decode_request(operation, body)
    return caught.value


def test_a_check_is_read_to_the_nano() -> None:
    """A check becomes a request with its amount in nano-USD and nothing made up."""
    body = {"user_id": "alice", "tier": "pro", "group": "g", "request_id": "r-1", "cost_usd": "0.000000001"}
    expected = AdmitRequest(
        operation=Operation.CHECK,
        user_id="alice",
        request_id="r-1",
        tier="pro",
        group="g",
        amount_nanos=1,
        usage=None,
    )
    assert expected == decode_request(Operation.CHECK, body)


def test_a_check_may_leave_its_request_id_out() -> None:
    """Whoever makes the id later, the decoder does not."""
    assert decode_request(Operation.CHECK, CHECK).request_id is None


def test_a_reserve_has_ten_minutes_unless_it_says_otherwise() -> None:
    """The default of `ttl_s` is 600."""
    request = decode_request(Operation.RESERVE, RESERVE)
    assert (500_000_000, 600) == (request.amount_nanos, request.ttl_s)


@pytest.mark.parametrize("ttl_s", [1, 3600])
@pytest.mark.parametrize("operation", [Operation.RESERVE, Operation.EXTEND])
def test_the_bounds_of_a_ttl_are_inside(operation: Operation, ttl_s: int) -> None:
    """One second and one hour are both allowed."""
    assert ttl_s == decode_request(operation, {**BODIES[operation], "ttl_s": ttl_s}).ttl_s


@pytest.mark.parametrize("ttl_s", [0, 3601, -1, 1.0, True, "600", []])
def test_a_ttl_out_of_bounds_is_refused(ttl_s: object) -> None:
    """A ttl is a whole number of seconds from 1 to 3600."""
    assert "ttl_s" == _refusal(Operation.RESERVE, {**RESERVE, "ttl_s": ttl_s}).field


@pytest.mark.parametrize("text", ["2026-01-31T08:00:00Z", "2026-01-31T08:00:00.123Z", "2026-01-31T08:00:00.007Z"])
def test_reserved_at_keeps_its_milliseconds(text: str) -> None:
    """A reserve's own `reserved_at` comes back as the same moment."""
    request = decode_request(Operation.SETTLE, {**SETTLE, "reserved_at": text})
    assert isinstance(request, ResolveRequest)
    assert request.reserved_at_ms is not None
    assert text == rfc3339(request.reserved_at_ms)


@pytest.mark.parametrize("moment", ["2026-01-31T08:00:00", "yesterday", 1769846400000, "", "2026-13-01T00:00:00Z"])
def test_a_reserved_at_that_is_no_moment_is_refused(moment: object) -> None:
    """A moment without an offset, or in another form, would be charged to some other window."""
    assert "reserved_at" == _refusal(Operation.SETTLE, {**SETTLE, "reserved_at": moment}).field


@pytest.mark.parametrize("operation", list(BODIES))
def test_an_unknown_field_is_refused_by_name(operation: Operation) -> None:
    """A misspelt field must not be taken for one that was left out."""
    assert "teir" == _refusal(operation, {**BODIES[operation], "teir": "pro"}).field


@pytest.mark.parametrize(
    ("operation", "field", "value"),
    [
        (Operation.CHECK, "ttl_s", 60),
        (Operation.CHECK, "estimate_usd", 1),
        (Operation.RESERVE, "cost_usd", 1),
        (Operation.SETTLE, "meta", {}),
        (Operation.SETTLE, "ttl_s", 60),
        (Operation.RELEASE, "cost_usd", 1),
        (Operation.RELEASE, "ttl_s", 60),
        (Operation.EXTEND, "reserved_at", "2026-01-31T08:00:00Z"),
    ],
)
def test_a_field_of_another_operation_is_refused(operation: Operation, field: str, value: object) -> None:
    """Each operation knows its own fields only."""
    assert field == _refusal(operation, {**BODIES[operation], field: value}).field


@pytest.mark.parametrize("operation", list(BODIES))
def test_the_user_is_required(operation: Operation) -> None:
    """No operation is for nobody; null is the same as leaving it out."""
    assert "user_id" == _refusal(operation, {**BODIES[operation], "user_id": None}).field


@pytest.mark.parametrize("operation", [Operation.RESERVE, Operation.SETTLE, Operation.RELEASE, Operation.EXTEND])
def test_the_request_id_is_required_beyond_a_check(operation: Operation) -> None:
    """What is settled later needs a name that the caller knows."""
    body = {name: value for name, value in BODIES[operation].items() if name != "request_id"}
    assert "request_id" == _refusal(operation, body).field


@pytest.mark.parametrize("value", ["", "a" * 257, "a\n", "a\x1fb", "\ud800", 7, True, ["alice"], {"id": "alice"}])
@pytest.mark.parametrize("field", ["user_id", "tier", "group"])
def test_a_name_that_no_key_can_have_is_refused(field: str, value: object) -> None:
    """Names are text of 1 to 256 printable characters."""
    assert field == _refusal(Operation.CHECK, {**CHECK, field: value}).field


def test_a_request_id_is_at_most_128_characters() -> None:
    """The bound of a request id is its own, not that of names."""
    assert "request_id" == _refusal(Operation.CHECK, {**CHECK, "request_id": "a" * 129}).field


@pytest.mark.parametrize("operation", [Operation.CHECK, Operation.RESERVE, Operation.SETTLE])
def test_the_tier_of_everybody_cannot_be_sent(operation: Operation) -> None:
    """`*` names a template and no user's tier."""
    assert "tier" == _refusal(operation, {**BODIES[operation], "tier": "*"}).field


@pytest.mark.parametrize(
    ("operation", "field"),
    [(Operation.CHECK, "cost_usd"), (Operation.RESERVE, "estimate_usd"), (Operation.SETTLE, "cost_usd")],
)
def test_an_amount_and_a_usage_exclude_each_other(operation: Operation, field: str) -> None:
    """With both, one of them would be ignored in silence."""
    assert field == _refusal(operation, {**BODIES[operation], "usage": USAGE}).field


@pytest.mark.parametrize("operation", [Operation.CHECK, Operation.RESERVE, Operation.SETTLE])
def test_an_amount_or_a_usage_is_needed(operation: Operation) -> None:
    """With neither there is nothing to decide about."""
    body = {name: value for name, value in BODIES[operation].items() if not name.endswith("_usd")}
    assert "give either" in _refusal(operation, body).message


@pytest.mark.parametrize("amount", [-1, 0.0000000001, True, [], "ten", float("nan"), float("inf"), 8_000_001])
def test_a_wrong_amount_is_refused(amount: object) -> None:
    """What `ledger.money` refuses is refused under the name of the field."""
    assert "cost_usd" == _refusal(Operation.CHECK, {**CHECK, "cost_usd": amount}).field


def test_a_cost_of_nothing_is_an_amount() -> None:
    """Zero is not the same as missing."""
    assert decode_request(Operation.CHECK, {**CHECK, "cost_usd": 0}).amount_nanos == 0


def test_a_usage_is_read_with_zeros_for_what_is_left_out() -> None:
    """Cache and reasoning tokens are optional, and so is the provider."""
    request = decode_request(Operation.CHECK, {"user_id": "alice", "usage": USAGE})
    assert (None, Usage(model="gpt-5", input_tokens=10, output_tokens=20)) == (request.amount_nanos, request.usage)


def test_a_whole_usage_is_read() -> None:
    """Every count lands under its own name."""
    counts = {"cache_read_tokens": 3, "cache_write_tokens": 4, "reasoning_tokens": 5}
    request = decode_request(Operation.CHECK, {"user_id": "alice", "usage": {**USAGE, "provider": "openai", **counts}})
    expected = Usage(
        model="gpt-5",
        provider="openai",
        input_tokens=10,
        output_tokens=20,
        cache_read_tokens=3,
        cache_write_tokens=4,
        reasoning_tokens=5,
    )
    assert expected == request.usage


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", None),
        ("model", ""),
        ("model", "m" * 257),
        ("provider", 7),
        ("input_tokens", None),
        ("output_tokens", None),
        ("input_tokens", -1),
        ("input_tokens", 1.0),
        ("input_tokens", True),
        ("output_tokens", "20"),
        ("cache_read_tokens", MAX_TOKENS + 1),
        ("tokens", 1),
    ],
)
def test_a_wrong_usage_is_refused_under_its_path(field: str, value: object) -> None:
    """The fault of a nested field is named with its parent."""
    assert f"usage.{field}" == _refusal(Operation.CHECK, {"user_id": "alice", "usage": {**USAGE, field: value}}).field


@pytest.mark.parametrize("usage", [[], "gpt-5", 7, False])
def test_a_usage_that_is_no_object_is_refused(usage: object) -> None:
    """A falsy usage is a wrong one, not a missing one."""
    assert "usage" == _refusal(Operation.CHECK, {"user_id": "alice", "usage": usage}).field


def test_meta_is_kept_as_compact_json() -> None:
    """Meta goes into the event as the text it was decided to be."""
    request = decode_request(Operation.CHECK, {**CHECK, "meta": {"feature": "chat", "retries": 2, "beta": True}})
    assert isinstance(request, AdmitRequest)
    assert '{"feature":"chat","retries":2,"beta":true}' == request.meta


@pytest.mark.parametrize(
    "meta",
    [
        [],
        "text",
        {"a": None},
        {"a": {"b": 1}},
        {"a": [1]},
        {"a": b"raw"},
        {"a": float("nan")},
        {"a": float("inf")},
        {str(number): number for number in range(17)},
        {"a": "x" * MAX_META_BYTES},
    ],
)
def test_meta_beyond_its_bounds_is_refused(meta: object) -> None:
    """Meta is flat, has at most 16 entries and 1,024 bytes."""
    assert "meta" == _refusal(Operation.CHECK, {**CHECK, "meta": meta}).field


@pytest.mark.parametrize("body", [None, [], "text", 7])
def test_a_body_that_is_no_object_is_refused(body: object) -> None:
    """Valid JSON of another shape has a code of its own."""
    assert "invalid_body" == _refusal(Operation.CHECK, body).code


def test_a_batch_keeps_its_order() -> None:
    """Operations come out as they went in."""
    entries = [{"op": str(operation), **body} for operation, body in BODIES.items()]
    decoded = decode_batch({"operations": entries})
    assert list(BODIES) == [request.operation for request in decoded if not isinstance(request, InvalidInput)]


def test_a_wrong_entry_of_a_batch_stands_in_its_place() -> None:
    """The others are read all the same."""
    wrong = {"op": "settle", **SETTLE, "cost_usd": -1}
    first, second, third = decode_batch({"operations": [{"op": "check", **CHECK}, wrong, {"op": "check", **CHECK}]})
    assert isinstance(first, AdmitRequest)
    assert isinstance(second, InvalidInput)
    assert second.field == "operations[1].cost_usd"
    assert isinstance(third, AdmitRequest)


@pytest.mark.parametrize("op", [None, "expire", "CHECK", 7, []])
def test_an_unknown_operation_of_a_batch_is_refused(op: object) -> None:
    """The sweeper's `expire` is nobody's to ask for."""
    (error,) = decode_batch({"operations": [{**CHECK, "op": op}]})
    assert isinstance(error, InvalidInput)
    assert error.field == "operations[0].op"


@pytest.mark.parametrize("operations", [None, [], {}, "check", [CHECK] * (MAX_OPERATIONS + 1)])
def test_a_batch_has_1_to_256_operations(operations: object) -> None:
    """A batch out of bounds is refused as a whole."""
    with pytest.raises(InvalidInput) as caught:
        decode_batch({"operations": operations})
    assert caught.value.field == "operations"


def test_decoding_a_batch_leaves_its_body_alone() -> None:
    """The caller's value is read, not consumed."""
    body = {"operations": [{"op": "check", **CHECK}]}
    decode_batch(body)
    assert {"operations": [{"op": "check", **CHECK}]} == body


@pytest.mark.parametrize("name", [MSGPACK, "application/x-msgpack", "application/vnd.msgpack"])
def test_messagepack_is_read_under_its_names(name: str) -> None:
    """The registered name and the two older ones mean the same."""
    assert CHECK == decode_body(msgpack.packb(CHECK), name)


def test_json_and_messagepack_say_the_same() -> None:
    """One request, two forms, one result."""
    from_json = decode_request(Operation.RESERVE, decode_body(orjson.dumps(RESERVE), JSON))
    assert from_json == decode_request(Operation.RESERVE, decode_body(msgpack.packb(RESERVE), MSGPACK))


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"NaN", b'{"cost_usd": NaN}', b'{"cost_usd": 1e400}', b'"\\ud800"', b"\xff", b"[1,]", b"[" * 5000],
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    """NaN, infinities, lone surrogates and endless nesting are no JSON."""
    with pytest.raises(InvalidInput) as caught:
        decode_body(body, JSON)
    assert caught.value.code == "invalid_body"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\x81",
        b"\x01\x01",
        b"\xa1\xff",
        b"\x81\x01\x02",
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\x91" * 5000,
        msgpack.packb(msgpack.Timestamp(1)),
        msgpack.packb(msgpack.ExtType(5, b"")),
        msgpack.packb(msgpack.ExtType(5, b"data")),
    ],
)
def test_messagepack_that_json_could_not_say_is_refused(body: bytes) -> None:
    """Truncated, oversized, nested without end, keys that are no text, timestamps and extensions."""
    with pytest.raises(InvalidInput) as caught:
        decode_body(body, MSGPACK)
    assert caught.value.code == "invalid_body"


def test_raw_bytes_are_no_name() -> None:
    """MessagePack's bytes are not text, though they may spell the same."""
    body = decode_body(msgpack.packb({**CHECK, "user_id": b"alice"}), MSGPACK)
    assert "user_id" == _refusal(Operation.CHECK, body).field


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "application/x-www-form-urlencoded"])
def test_other_media_types_are_refused(content_type: str) -> None:
    """A form or plain text, which a browser sends across sites without asking, is not read."""
    with pytest.raises(UnsupportedMediaType):
        decode_body(b"{}", content_type)
