"""The bytes of requests, made once but for their numbers: a generator shares its core with the store.

A template is encoded with stand-ins of fixed length, cut at them, and joined around the real numbers.
"""

import itertools
import json
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgpack

from bench.suite.loads import Load, Users, Wire

REQUEST_DIGITS: Final = 12
USER_DIGITS: Final = 6
_REQUEST_MARK: Final = "R" * REQUEST_DIGITS
_USER_MARK: Final = "U" * USER_DIGITS
COST_USD: Final = 0.000125
ZIPF_EXPONENT: Final = 1.0
DRAWN_USERS: Final = 1 << 16
SEED: Final = 20261125
MASKED_BINARY: Final = b"\x82"
SMALL, MEDIUM = 126, 1 << 16
NO_MASK: Final = b"\0\0\0\0"
"""The frame of a WebSocket client says with which key it is masked; this one changes nothing and costs nothing."""


@dataclass(slots=True)
class Slot:
    """One message under way: its first operation's number, its next step, when it was due, what is unanswered of it."""

    number: int
    first: int = 0
    step: int = 0
    unanswered: int = 0
    due_s: float = 0.0


def drawn_users(load: Load) -> Iterator[int]:
    """Yield the users of a load for ever; the same ones for the same load."""
    if load.users is Users.ONE:
        return itertools.repeat(1)
    if load.users is Users.EACH_ONCE:
        return itertools.cycle(range(load.user_count))
    source = random.Random(SEED)
    weights = [1.0] * load.user_count
    if load.users is Users.ZIPF:
        weights = [1 / rank**ZIPF_EXPONENT for rank in range(1, load.user_count + 1)]
    return itertools.cycle(source.choices(range(load.user_count), weights, k=DRAWN_USERS))


class Template:
    """One operation's bytes with places for its request's number and its user's."""

    def __init__(self, operation: str, tag: str, tier: str, encode: Callable[[str, dict[str, Any]], bytes]) -> None:
        body: dict[str, Any] = {"request_id": f"{tag}-{_REQUEST_MARK}", "user_id": f"user-{_USER_MARK}", "tier": tier}
        body["estimate_usd" if operation == "reserve" else "cost_usd"] = COST_USD
        fixed = encode(operation, body).replace(b"%", b"%%")
        places = {_REQUEST_MARK: b"%%0%dd" % REQUEST_DIGITS, _USER_MARK: b"%%0%dd" % USER_DIGITS}
        for mark, place in places.items():
            fixed = fixed.replace(mark.encode(), place, 1)
        self._format = fixed

    def fill(self, request: int, user: int) -> bytes:
        """Return the bytes of one operation."""
        return self._format % (request, user)


class Messages:
    """Makes the messages of a load, each with the next operations of a slot."""

    def __init__(self, load: Load, tag: str) -> None:
        self._per_frame = load.per_frame
        self._at_most = math.inf if load.at_most is None else load.at_most
        operations = ("reserve", "settle") if load.pairs else ("check",)
        encode = {Wire.JSON: _json_request, Wire.MSGPACK: _msgpack_request, Wire.STREAM: _entry}[load.wire]
        self._templates = [Template(operation, tag, load.tier, encode) for operation in operations]
        self._is_stream = load.wire is Wire.STREAM
        users = drawn_users(load)
        self._users = [next(users) for _ in range(max(DRAWN_USERS, load.user_count))]
        self._next = 0

    @property
    def has_more(self) -> bool:
        """Whether the load has operations that have not left yet."""
        return self._next < self._at_most

    def next_message(self, slot: Slot) -> bytes:
        """Return the bytes of a slot's next operations: the settles of its reserves, or new ones."""
        if not slot.step:
            slot.first = self._next
            self._next += self._per_frame
        template = self._templates[slot.step]
        slot.step = (slot.step + 1) % len(self._templates)
        slot.unanswered = self._per_frame
        users, count = self._users, len(self._users)
        if not self._is_stream:
            return template.fill(slot.first, users[slot.first % count])
        # [id, op, body]: an array of three, whose first is a whole number of four bytes.
        head = b"\x93\xce" + slot.number.to_bytes(4, "big")
        numbers = range(slot.first, slot.first + self._per_frame)
        entries = b"".join(head + template.fill(each, users[each % count]) for each in numbers)
        if self._per_frame > 1:
            entries = b"\xdc" + self._per_frame.to_bytes(2, "big") + entries
        return frame(entries)


def frame(payload: bytes) -> bytes:
    """Return a WebSocket client's binary frame (RFC 6455, section 5.2)."""
    size = len(payload)
    if size < SMALL:
        head = bytes((0x80 | size,))
    elif size < MEDIUM:
        head = b"\xfe" + size.to_bytes(2, "big")
    else:
        head = b"\xff" + size.to_bytes(8, "big")
    return MASKED_BINARY + head + NO_MASK + payload


def _json_request(operation: str, body: dict[str, Any]) -> bytes:
    return _request(operation, "application/json", json.dumps(body, separators=(",", ":")).encode())


def _msgpack_request(operation: str, body: dict[str, Any]) -> bytes:
    return _request(operation, "application/msgpack", msgpack.packb(body))


def _request(operation: str, media_type: str, body: bytes) -> bytes:
    head = (
        f"POST /v1/{operation} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {media_type}\r\n"
        f"Accept: {media_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _entry(operation: str, body: dict[str, Any]) -> bytes:
    return bytes(msgpack.packb(operation) + msgpack.packb(body))
