"""Events of the enforcement log, and where they stand in it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from ledger.errors import InvalidInput
from ledger.moments import MAX_MOMENT_MS
from ledger.plans import parse_window_code
from ledger.windows import Window

_POSITION: Final = re.compile(r"(\d{1,20})-(\d{1,20})-(\d{1,4})", re.ASCII)
_CURSOR: Final = re.compile(r"[0-9a-z]{1,13}(\.([0-9a-z]{1,13}(-[0-9a-z]{1,13})?)?){1,4096}", re.ASCII)
MAX_MOMENT_DIGITS: Final = len(str(MAX_MOMENT_MS))
_INTEGER: Final = re.compile(r"-?\d{1,30}", re.ASCII)
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


MAX_ID_PART: Final = 2**64 - 1
"""The largest number that either part of an entry's id can be."""


class EventType(StrEnum):
    """What the ledger logs; `ACTIONS` are the decisions of the enforcement log proper."""

    BLOCKED = "blocked"
    WARNED = "warned"
    DRY_RUN = "dry_run"
    EXPIRED = "expired"
    OVERRUN = "overrun"
    LATE_SETTLE = "late_settle"
    RECONSTRUCTED = "reconstructed"
    UNPRICED = "unpriced"
    UNATTRIBUTED = "unattributed"
    ADJUSTED = "adjusted"
    DEGRADED = "degraded"
    VOIDED = "voided"
    ERASED = "erased"
    REPAIRED = "repaired"


ACTIONS: Final = frozenset({EventType.BLOCKED, EventType.WARNED, EventType.DRY_RUN})


class Position(NamedTuple):
    """Where an event stands in the log of all partitions: Unix milliseconds, number within them, partition.

    Positions are ordered as the log is. The text is the event's id on the wire and a page's cursor.
    """

    ms: int
    number: int
    partition: int

    @property
    def text(self) -> str:
        """``<ms>-<number>-<partition>``."""
        return f"{self.ms}-{self.number}-{self.partition}"

    @classmethod
    def parse(cls, text: object, *, field: str) -> "Position":
        """Return the position of a text; raises `InvalidInput` naming `field`."""
        match = _POSITION.fullmatch(text) if isinstance(text, str) else None
        parts = [] if match is None else [int(part) for part in match.groups()]
        if not parts or max(parts) > MAX_ID_PART:
            raise InvalidInput(f"{field} is not a cursor of this log", field=field)
        return cls(*parts)


StreamId = tuple[int, int]
"""Unix milliseconds and number within them; (0, 0) stands before every entry of a stream."""

BEFORE_ALL: Final[StreamId] = (0, 0)
LAST_OF_ALL: Final[StreamId] = (MAX_ID_PART, MAX_ID_PART)


def parse_stream_id(text: bytes) -> StreamId:
    """Return the parts of an entry's id, ``<ms>-<number>``."""
    ms, _, number = text.partition(b"-")
    return int(ms), int(number)


@dataclass(frozen=True, slots=True)
class StreamCursor:
    """Up to where the log was read: one id a partition, because servers of a cluster do not share a clock.

    As text: the newest id's milliseconds, then for each partition how much older its id is, and its number within
    the millisecond if that is not zero; nothing for a partition without any. In base 36, to stay short in a header.
    """

    ids: tuple[StreamId, ...]

    @property
    def text(self) -> str:
        """The cursor as it goes over the wire."""
        newest_ms = max(ms for ms, _ in self.ids)
        return ".".join([_base36(newest_ms), *(_offset(newest_ms, stream_id) for stream_id in self.ids)])

    @classmethod
    def parse(cls, text: object, *, partitions: int, field: str) -> "StreamCursor":
        """Return the cursor of a text; raises `InvalidInput` naming `field` for what this log never gave out."""
        if not isinstance(text, str) or not _CURSOR.fullmatch(text) or text.count(".") != partitions:
            raise InvalidInput(f"{field} is not a cursor of this log", field=field)
        newest, *offsets = text.split(".")
        newest_ms = int(newest, 36)
        ids = tuple(_stream_id(newest_ms, offset) for offset in offsets)
        if any(ms < 0 or max(ms, number) > MAX_ID_PART for ms, number in ids):
            raise InvalidInput(f"{field} is not a cursor of this log", field=field)
        return cls(ids)

    def after(self, position: Position) -> "StreamCursor":
        """Return the cursor once the event at `position` was read as well."""
        ids = list(self.ids)
        ids[position.partition] = (position.ms, position.number)
        return StreamCursor(tuple(ids))


def _offset(newest_ms: int, stream_id: StreamId) -> str:
    ms, number = stream_id
    if stream_id == BEFORE_ALL:
        return ""
    older = _base36(newest_ms - ms)
    return f"{older}-{_base36(number)}" if number else older


def _stream_id(newest_ms: int, offset: str) -> StreamId:
    if not offset:
        return BEFORE_ALL
    older, _, number = offset.partition("-")
    return newest_ms - int(older, 36), int(number or "0", 36)


def _base36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits or "0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One entry of the log. Amounts are nano-USD; those of a rule are None for an event about no rule.

    `type` is an `EventType`, or the word of a newer version's. `spend_nanos` and `held_nanos` are the counter's after
    the operation, `limit_nanos` None also stands for unlimited. `meta` is the caller's JSON, or empty. `outcomes`
    lists (rule id, outcome) of every rule that did more than allow.
    """

    id: str
    position: Position
    type: str
    at_ms: int
    user_id: str
    request_id: str
    tier: str
    rule_id: str
    window: Window | None
    reason: str
    amount_nanos: int
    spend_nanos: int | None
    held_nanos: int | None
    limit_nanos: int | None
    group: str
    model: str
    price_version: str
    meta: str
    outcomes: tuple[tuple[str, str], ...]

    @property
    def partition(self) -> int:
        """The partition whose stream has it."""
        return self.position.partition


def decode_event(position: Position, fields: Mapping[bytes, bytes]) -> Event:
    """Return an entry of the log as an event; fields as ``lua/include/events.lua`` writes them.

    What a foreign writer left out or broke is shown as if it were empty: one bad entry must not hide the others.
    """
    texts = {name: value.decode(errors="replace") for name, value in fields.items()}
    return Event(
        id=f"{position.ms}-{position.number}",
        position=position,
        type=texts.get(b"type", ""),
        at_ms=event_time_ms(position, fields),
        user_id=texts.get(b"user", ""),
        request_id=texts.get(b"request", ""),
        tier=texts.get(b"tier", ""),
        rule_id=texts.get(b"rule", ""),
        window=_window(texts.get(b"window", "")),
        reason=texts.get(b"reason", ""),
        amount_nanos=_number(texts.get(b"amount", "")) or 0,
        spend_nanos=_number(texts.get(b"spend", "")),
        held_nanos=_number(texts.get(b"held", "")),
        limit_nanos=_number(texts.get(b"limit", "")),
        group=texts.get(b"group", ""),
        model=texts.get(b"model", ""),
        price_version=texts.get(b"price_version", ""),
        meta=texts.get(b"meta", ""),
        outcomes=_outcomes(texts.get(b"outcomes", "")),
    )


def event_time_ms(position: Position, fields: Mapping[bytes, bytes]) -> int:
    """Return an event's own time, or that of its entry; at most the year 9999, so that it can be shown."""
    at = fields.get(b"at", b"")
    at_ms = int(at) if at.isdigit() and len(at) <= MAX_MOMENT_DIGITS else position.ms
    return min(at_ms, MAX_MOMENT_MS)


def _window(code: str) -> Window | None:
    try:
        window = parse_window_code(code) if code else None
    except ValueError:
        return None
    if window is None or not 0 <= window.start_s <= window.end_s <= MAX_MOMENT_MS // 1000:
        return None
    return window


def _number(text: str) -> int | None:
    return int(text) if _INTEGER.fullmatch(text) else None


def _outcomes(text: str) -> tuple[tuple[str, str], ...]:
    pairs = (part.partition("=") for part in text.split(",") if part)
    return tuple((rule_id, outcome) for rule_id, _, outcome in pairs)
