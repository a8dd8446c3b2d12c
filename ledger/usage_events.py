"""Usage events: calls that were made without asking, told of afterwards in the shape that LLM Cost Tracker's SDK sends.

``{api_key, group?, user_id?, tier?, prompt_version?, model, input_tokens, output_tokens, latency_ms?}``, as
``@llmcosttracker/sdk`` 0.6.2 posts it: a field that it has no value for is left out or null, and what is no text in its
caller's program (a number as user id) is no text here. It reads no answer. `request_id` is ours: with it an event that
is sent again is charged once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ledger.decisions import Operation
from ledger.errors import InvalidInput
from ledger.names import parse_name, parse_request_id
from ledger.operations import Resolution, sent_text
from ledger.plans import Plan
from ledger.prices import Priced
from ledger.usage import MAX_TOKENS, Usage

UNKNOWN_TOKENS: Final = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageEvent:
    """One call. None for what was not told; without tokens of both kinds it has no price."""

    model: str
    user_id: str | None = None
    tier: str | None = None
    group: str | None = None
    request_id: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None

    @property
    def usage(self) -> Usage | None:
        """What can be priced; None if either number of tokens is unknown."""
        if self.input_tokens is None or self.output_tokens is None:
            return None
        return Usage(model=self.model, input_tokens=self.input_tokens, output_tokens=self.output_tokens)

    @property
    def sent(self) -> str:
        """The text that two events with one request id must share."""
        usage = self.usage
        amount = f"{UNKNOWN_TOKENS} {self.model}" if usage is None else usage.canonical
        return sent_text(Operation.RECORD, self.tier, amount, 0)


def parse_usage_event(body: object) -> UsageEvent:
    """Return the event of a decoded body; fields that are not known here are left alone.

    Raises `InvalidInput` naming the first wrong field.
    """
    if not isinstance(body, dict):
        raise InvalidInput("the body must be an object: one event", code="invalid_body")
    model = _name(body, "model")
    if model is None:
        raise InvalidInput("model is required", field="model")
    request_id = body.get("request_id")
    return UsageEvent(
        model=model,
        user_id=_name(body, "user_id"),
        tier=_name(body, "tier", refuse_any_tier=True),
        group=_name(body, "group"),
        request_id=None if request_id is None else parse_request_id(request_id),
        input_tokens=_tokens(body, "input_tokens"),
        output_tokens=_tokens(body, "output_tokens"),
    )


def api_key_of(body: object) -> str:
    """Return the key that an event brings along, empty without one. It is compared, never kept or logged."""
    key = body.get("api_key") if isinstance(body, dict) else None
    return key if isinstance(key, str) else ""


def direct_charge(event: UsageEvent, *, plan: Plan, request_id: str, priced: Priced | None) -> Resolution:
    """Return the charge of an event; without a price it costs what the plan's rules say."""
    return Resolution(
        operation=Operation.RECORD,
        user_id=event.user_id or "",
        request_id=request_id,
        amount_nanos=None if priced is None else priced.nanos,
        sent=event.sent,
        plan=plan,
        group=event.group or "",
        model=event.model,
        price_version="" if priced is None else priced.version,
        input_tokens=event.input_tokens or 0,
        output_tokens=event.output_tokens or 0,
    )


def _name(body: Mapping[str, Any], field: str, *, refuse_any_tier: bool = False) -> str | None:
    """Return a name; empty text is as good as none, and a whole number is the text of its digits."""
    value = body.get(field)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return None if value is None or value == "" else parse_name(value, field=field, refuse_any_tier=refuse_any_tier)


def _tokens(body: Mapping[str, Any], field: str) -> int | None:
    """Return a number of tokens; JavaScript has one kind of numbers, so a whole one may have a decimal point."""
    value = body.get(field)
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_TOKENS:
        raise InvalidInput(f"{field} must be a whole number from 0 to {MAX_TOKENS}, or null if unknown", field=field)
    return value
