"""Which events of the enforcement log one wants to see, judged on entries as they are stored, before decoding."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ledger.events import Position, event_time_ms

SEARCHED: Final = (b"user", b"request", b"tier", b"group", b"model", b"rule", b"reason")
BETWEEN_NAMES: Final = b"\x1f"
"""No name contains it, so no text is found across two of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which events to show; None and empty text ask for nothing. Names are compared exactly.

    `has_tier` asks for events with any tier, or with none. `text` is looked for in user, request, tier, group, model,
    rule and reason, in any case. `since_ms` is in the span, `until_ms` is not; both are compared with the event's own
    time.
    """

    types: frozenset[str] | None = None
    user_id: str | None = None
    tier: str | None = None
    group: str | None = None
    model: str | None = None
    rule_id: str | None = None
    has_tier: bool | None = None
    text: str = ""
    since_ms: int | None = None
    until_ms: int | None = None


EVERYTHING: Final = EventFilter()


class EventMatcher:
    """A filter made ready for many entries."""

    def __init__(self, event_filter: EventFilter) -> None:
        names = {
            b"user": event_filter.user_id,
            b"tier": event_filter.tier,
            b"group": event_filter.group,
            b"model": event_filter.model,
            b"rule": event_filter.rule_id,
        }
        types = event_filter.types
        self._types = None if types is None else frozenset(kind.encode() for kind in types)
        self._names = [(name, value.encode()) for name, value in names.items() if value is not None]
        self._has_tier = event_filter.has_tier
        self._text = event_filter.text.casefold()
        self._since_ms = event_filter.since_ms
        self._until_ms = event_filter.until_ms

    def wants(self, position: Position, fields: Mapping[bytes, bytes]) -> bool:
        """Say whether an entry is wanted."""
        if self._types is not None and fields.get(b"type", b"") not in self._types:
            return False
        if any(fields.get(name, b"") != value for name, value in self._names):
            return False
        if self._has_tier is not None and self._has_tier is not bool(fields.get(b"tier")):
            return False
        if self._text and self._text not in _searched(fields):
            return False
        return self._is_in_span(position, fields)

    def _is_in_span(self, position: Position, fields: Mapping[bytes, bytes]) -> bool:
        if self._since_ms is None and self._until_ms is None:
            return True
        at_ms = event_time_ms(position, fields)
        return (self._since_ms is None or at_ms >= self._since_ms) and (
            self._until_ms is None or at_ms < self._until_ms
        )


def _searched(fields: Mapping[bytes, bytes]) -> str:
    return BETWEEN_NAMES.join(fields.get(name, b"") for name in SEARCHED).decode(errors="replace").casefold()
