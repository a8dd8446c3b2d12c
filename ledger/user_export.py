"""What the store has of a user as one document: for the user, so with words and amounts in USD, as exact text."""

from collections.abc import Mapping
from typing import Any, Final

from ledger.counter_text import StoredCounter
from ledger.events import Event
from ledger.money import usd_text
from ledger.user_data import UserData
from ledger.windows import Window, rfc3339

RECORD_TEXTS: Final = ("op", "state", "tier", "group", "model", "price_version")
RECORD_TOKENS: Final = {"input": "input_tokens", "output": "output_tokens"}


def export_document(data: UserData) -> dict[str, Any]:
    """Return the document; amounts are decimal strings in USD, moments RFC 3339 in UTC."""
    return {
        "user_id": data.user_id,
        "windows": [_counter(window, counter) for window, counter in data.counters],
        "requests": [_record(request, fields) for request, fields in data.records],
        "events": [_event(event) for event in data.events],
    }


def _window(window: Window) -> dict[str, str]:
    return {
        "window": str(window.type),
        "window_start": rfc3339(window.start_s * 1000),
        "resets_at": rfc3339(window.end_s * 1000),
    }


def _counter(window: Window, counter: StoredCounter) -> dict[str, Any]:
    return {
        **_window(window),
        "spend_usd": usd_text(counter.spend_nanos),
        "held_usd": usd_text(counter.held_nanos),
        "adjusted_usd": usd_text(counter.adjusted_nanos),
        "calls": counter.calls,
        "calendar": counter.calendar,
    }


def _record(request_id: str, fields: Mapping[str, str]) -> dict[str, Any]:
    document: dict[str, Any] = {"request_id": request_id}
    document |= {name: fields[name] for name in RECORD_TEXTS if fields[name]}
    document |= {name: int(fields[short]) for short, name in RECORD_TOKENS.items() if fields[short]}
    if fields["at"]:
        document["at"] = rfc3339(int(fields["at"]))
    if fields["charged"]:
        document["charged_usd"] = usd_text(int(fields["charged"]))
    if fields["amount"]:
        document["amount_usd"] = usd_text(int(fields["amount"]))
    return document


def _event(event: Event) -> dict[str, Any]:
    texts = {
        "type": event.type,
        "request_id": event.request_id,
        "tier": event.tier,
        "group": event.group,
        "model": event.model,
        "rule_id": event.rule_id,
        "reason": event.reason,
        "meta": event.meta,
    }
    amounts = {
        "amount_usd": event.amount_nanos,
        "spend_usd": event.spend_nanos,
        "held_usd": event.held_nanos,
        "limit_usd": event.limit_nanos,
    }
    return {
        "at": rfc3339(event.at_ms),
        **{name: text for name, text in texts.items() if text},
        **{name: usd_text(nanos) for name, nanos in amounts.items() if nanos is not None},
        **({} if event.window is None else _window(event.window)),
    }
