"""An event on the wire, and the filter of a query."""

from typing import Any, Final

import orjson

from controlplane.api.queries import Query
from ledger.event_filter import EventFilter
from ledger.events import ACTIONS, Event, EventType
from ledger.money import usd_number
from ledger.windows import rfc3339
from ledger.wire import percent, window_fields

ALL_TYPES: Final = "all"
FILTER_PARAMETERS: Final = ("action", "type", "user_id", "tier", "group", "model", "rule_id", "q", "since", "until")
NO_WINDOW: Final = {"window": None, "window_start": None, "resets_at": None}


def read_filter(query: Query) -> EventFilter:
    """Return the filter that a query asks for; without `action` and `type` the warned, blocked and dry-run decisions.

    Raises `InvalidInput` naming the parameter.
    """
    types = query.words("type", [*EventType, ALL_TYPES])
    wanted = query.words("action", sorted(ACTIONS)) | types or ACTIONS
    return EventFilter(
        types=None if ALL_TYPES in wanted else wanted,
        user_id=query.name("user_id"),
        tier=query.name("tier"),
        group=query.text("group"),
        model=query.text("model"),
        rule_id=query.text("rule_id"),
        text=query.text("q") or "",
        since_ms=query.moment_ms("since"),
        until_ms=query.moment_ms("until"),
    )


def event_fields(event: Event) -> dict[str, Any]:
    """Return an event for the wire. Amounts of a rule are null without one, the limit also for unlimited."""
    has_rule = event.spend_nanos is not None
    return {
        "id": event.position.text,
        "type": event.type,
        "at": rfc3339(event.at_ms),
        "user_id": event.user_id,
        "tier": event.tier or None,
        "request_id": event.request_id,
        "group": event.group or None,
        "model": event.model or None,
        "price_version": event.price_version or None,
        "reason": event.reason,
        "amount_usd": usd_number(event.amount_nanos),
        "rule_id": event.rule_id or None,
        "spend_usd": _usd(event.spend_nanos),
        "held_usd": _usd(event.held_nanos),
        "limit_usd": _usd(event.limit_nanos),
        "percent": percent(event.spend_nanos or 0, event.limit_nanos) if has_rule else None,
        **(NO_WINDOW if event.window is None else window_fields(event.window)),
        "outcomes": [{"rule_id": rule_id, "outcome": outcome} for rule_id, outcome in event.outcomes],
        "meta": _meta(event.meta),
    }


def _usd(nanos: int | None) -> float | str | None:
    return None if nanos is None else usd_number(nanos)


def _meta(text: str) -> Any:
    """Return what the caller sent along; text that is no JSON is shown as it is."""
    if not text:
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
