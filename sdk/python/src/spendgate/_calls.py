"""Requests of the SDK, built and checked before anything is sent; nothing here waits or touches a socket."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from spendgate.amounts import Amount, nanos_of, usd_text
from spendgate.usage import Usage

DEFAULT_TTL_S: Final = 600
AMOUNT_FIELDS: Final = {"check": "cost_usd", "reserve": "estimate_usd", "settle": "cost_usd"}

Meta = Mapping[str, str | int | float | bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One operation as it goes out, and what is needed if no answer comes back.

    `amount_nanos` is None where only tokens are known. `made_at` is this machine's time.
    """

    operation: str
    fields: dict[str, Any]
    amount_nanos: int | None = None
    made_at: datetime

    def __str__(self) -> str:
        return f"{self.operation} {self.request_id} of user {self.user_id}"

    @property
    def user_id(self) -> str:
        """Whose call it is."""
        user_id: str = self.fields["user_id"]
        return user_id

    @property
    def request_id(self) -> str:
        """The id that makes a repetition harmless."""
        request_id: str = self.fields["request_id"]
        return request_id

    @property
    def path(self) -> str:
        """Where it goes."""
        return f"/v1/{self.operation}"

    def body(self) -> bytes:
        """Return the request's JSON."""
        return json.dumps(self.fields, separators=(",", ":")).encode()


def admission(
    operation: str,
    user_id: str,
    amount: Amount | None,
    usage: Usage | None,
    *,
    request_id: str | None = None,
    meta: Meta | None = None,
    **optional: object,
) -> Call:
    """Return a check or a reserve. Every one has a request id, so that it can be repeated.

    Raises `InvalidAmountError`, and `ValueError` unless there is exactly one of `amount` and `usage`.
    """
    fields = {"request_id": request_id or secrets.token_hex(16), "user_id": user_id}
    return _call(operation, fields, amount, usage, meta=dict(meta) if meta else None, **optional)


def settle(
    user_id: str,
    request_id: str,
    amount: Amount | None,
    usage: Usage | None,
    *,
    reserved_at: datetime | None = None,
    **optional: object,
) -> Call:
    """Return a settle; raises like `admission`. With `reserved_at` it counts even where the hold is unknown."""
    fields = {"request_id": request_id, "user_id": user_id}
    moment = None if reserved_at is None else moment_text(reserved_at)
    return _call("settle", fields, amount, usage, reserved_at=moment, **optional)


def resolution(operation: str, user_id: str, request_id: str, **optional: object) -> Call:
    """Return a release or an extend."""
    fields = {"request_id": request_id, "user_id": user_id} | _given(optional)
    return Call(operation=operation, fields=fields, made_at=datetime.now(UTC))


def moment_text(moment: datetime) -> str:
    """Return a moment as the wire has it, to the millisecond; raises `ValueError` for one without a time zone."""
    if moment.tzinfo is None:
        raise ValueError("a moment needs a time zone, as in datetime.now(UTC)")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _call(
    operation: str, fields: dict[str, Any], amount: Amount | None, usage: Usage | None, **optional: object
) -> Call:
    name = AMOUNT_FIELDS[operation]
    if (amount is None) == (usage is None):
        raise ValueError(f"give either {name} or usage")
    nanos = None
    if usage is not None:
        fields["usage"] = usage.as_fields(actual=operation != "reserve")
    else:
        nanos = nanos_of(amount, name=name)
        fields[name] = usd_text(nanos)
    return Call(operation=operation, fields=fields | _given(optional), amount_nanos=nanos, made_at=datetime.now(UTC))


def _given(optional: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in optional.items() if value is not None}
