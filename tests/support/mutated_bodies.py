"""Bodies that were right until something happened to them: a field, a structure or a byte is not what it was."""

import copy
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgpack

JSON: Final = "application/json"
MSGPACK: Final = "application/msgpack"
MAX_DEPTH: Final = 600

USAGE: Final = {"provider": "openai", "model": "gpt-5", "input_tokens": 1200, "output_tokens": 350}
BODIES: Final[dict[str, dict[str, Any]]] = {
    "check": {"user_id": "alice", "tier": "pro", "request_id": "c-1", "cost_usd": 0.0125, "meta": {"feature": "chat"}},
    "reserve": {"user_id": "alice", "tier": "pro", "request_id": "r-1", "estimate_usd": "0.50", "ttl_s": 600},
    "settle": {"user_id": "alice", "request_id": "r-1", "usage": USAGE, "reserved_at": "2026-01-31T12:00:00Z"},
    "release": {"user_id": "alice", "request_id": "r-2"},
    "extend": {"user_id": "alice", "request_id": "r-1", "ttl_s": 1200},
}
HOSTILE: Final[tuple[object, ...]] = (
    *(None, True, False, 0, -0.0, -1, 1e-10, 1e-400, 0.1 + 0.2, 5e-324, 1.7976931348623157e308),
    *(2**31, 2**53 + 1, 2**63, 2**64 - 1, -(2**63), 8_000_000, 8_000_000.01, 8_000_001),
    *("", " ", "*", "\x00", "\n", "a" * 256, "a" * 257, "a" * 70_000, "\x1d\x1e\x1f", "\u202e", "\u200b", "\ufeff"),
    *("日本", "🙂" * 256, "é", "-0", "1e5", "1e999999999", "NaN", "Infinity", "0x10", "1_000", "١٢", " 1", "1" * 41),
    *("2026-02-30T00:00:00Z", "9999-12-31T23:59:59+23:59", "0001-01-01T00:00:00-23:59", "1970-01-01T00:00:00Z"),
    *([], [[]], {}, {"a": {"b": {}}}, {"": ""}, [None] * 5000, {str(number): number for number in range(5000)}),
)
TEXTS: Final = (
    *(b"NaN", b"-Infinity", b"1e400", b"-0", b"-1e400", b"9" * 400, b"0." + b"0" * 400 + b"1", b"01", b"1.", b"+1"),
    *(b'"\\ud800"', b'"\\udc00\\ud800"', b'"\xff"', b'"\xed\xa0\x80"', b'"\x00"', b"'a'", b"undefined", b"/**/1"),
)
"""What a JSON encoder does not write."""


@dataclass(frozen=True, slots=True)
class MutatedBody:
    """Bytes for an operation, and the Content-Type that they claim to have."""

    operation: str
    content_type: str
    body: bytes


def mutated_bodies(draw: random.Random, count: int) -> Iterator[MutatedBody]:
    """Yield as many bodies, the same for the same `draw`."""
    for _ in range(count):
        operation = draw.choice([*BODIES, "batch"])
        fields = _fields(draw, operation)
        content_type = draw.choice([JSON, JSON, MSGPACK])
        mutate = draw.choice(_MUTATIONS[content_type])
        yield MutatedBody(operation, content_type, mutate(draw, fields))


def _fields(draw: random.Random, operation: str) -> dict[str, Any]:
    if operation != "batch":
        return copy.deepcopy(BODIES[operation])
    names = draw.choices(list(BODIES), k=draw.randint(1, 4))
    return {"operations": [{"op": name, **copy.deepcopy(BODIES[name])} for name in names]}


def _change_field(draw: random.Random, fields: dict[str, Any]) -> dict[str, Any]:
    target = fields
    while draw.random() < 0.5 and (inner := [value for value in _values(target) if isinstance(value, dict)]):
        target = draw.choice(inner)
    name = draw.choice(list(target))
    change = draw.randrange(4)
    if change == 0:
        del target[name]
    elif change == 1:
        target[draw.choice(("teir", "", "__proto__", "user_id ", "op", name.upper()))] = target[name]
    else:
        target[name] = draw.choice(HOSTILE)
    return fields


def _values(fields: dict[str, Any]) -> list[Any]:
    return [entry for value in fields.values() for entry in (value if isinstance(value, list) else [value])]


def _as_json(draw: random.Random, fields: dict[str, Any]) -> bytes:
    return json.dumps(_change_field(draw, fields), ensure_ascii=draw.random() < 0.5).encode()


def _as_msgpack(draw: random.Random, fields: dict[str, Any]) -> bytes:
    packed: bytes = msgpack.packb(_change_field(draw, fields))
    return packed


def _foreign_text(draw: random.Random, fields: dict[str, Any]) -> bytes:
    """Put what no encoder writes in the place of a value."""
    mark = "the place of the text"
    fields[draw.choice(list(fields))] = mark
    return json.dumps(fields).encode().replace(f'"{mark}"'.encode(), draw.choice(TEXTS))


def _twice(draw: random.Random, fields: dict[str, Any]) -> bytes:
    """Say a field twice, with another value."""
    name = json.dumps(draw.choice(list(fields)))
    return json.dumps(fields)[:-1].encode() + f",{name}:{json.dumps(draw.choice(HOSTILE))}}}".encode()


def _deep(draw: random.Random, fields: dict[str, Any]) -> bytes:
    """Bury the body in lists and objects."""
    opening, closing = draw.choice([(b"[", b"]"), (b'{"a":', b"}")])
    depth = draw.randint(1, MAX_DEPTH)
    return opening * depth + json.dumps(fields).encode() + closing * depth


def _deep_msgpack(draw: random.Random, fields: dict[str, Any]) -> bytes:
    packed: bytes = draw.choice([b"\x91", b"\x81\xa1a"]) * draw.randint(1, MAX_DEPTH) + msgpack.packb(fields)
    return packed


def _broken(encode: Callable[[Any], bytes]) -> Callable[[random.Random, dict[str, Any]], bytes]:
    """Return a mutation that cuts, flips, repeats or inserts bytes."""

    def mutate(draw: random.Random, fields: dict[str, Any]) -> bytes:
        body = bytearray(encode(fields))
        for _ in range(draw.randint(1, 3)):
            place = draw.randrange(len(body) + 1)
            change = draw.randrange(4)
            if change == 0:
                del body[place:]
            elif change == 1:
                body[place : place + 1] = draw.randbytes(1)
            elif change == 2:
                body[place:place] = draw.randbytes(draw.randint(1, 8))
            else:
                body[place:place] = body[: draw.randint(1, 40)]
        return bytes(body)

    return mutate


_MUTATIONS: Final[dict[str, tuple[Callable[[random.Random, dict[str, Any]], bytes], ...]]] = {
    JSON: (_as_json, _as_json, _foreign_text, _twice, _deep, _broken(lambda fields: json.dumps(fields).encode())),
    MSGPACK: (_as_msgpack, _as_msgpack, _deep_msgpack, _broken(msgpack.packb)),
}
