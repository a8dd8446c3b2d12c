"""Requests of the SDK, built and checked before anything is sent; nothing here waits or touches a socket."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from spendgate.amounts import Amount, nanos_of, usd_text
from spendgate.usage import Usage

DEFAULT_TTL_S: Final = 600
AMOUNT_FIELDS: Final = {"check": "cost_usd", "reserve": "estimate_usd", "settle": "cost_usd"}

TEXTS: Final = ("user_id", "request_id", "tier", "group")
PLAIN: Final = (str, int, float)

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

    Raises `InvalidAmountError`, `ValueError` unless there is exactly one of `amount` and `usage`, and `TypeError` for
    what no request can hold.
    """
    fields = {"request_id": request_id or secrets.token_hex(16), "user_id": user_id}
    return _call(operation, fields, amount, usage, meta=_meta(meta), **optional)


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
    if not isinstance(reserved_at, datetime | None):
        raise TypeError(f"reserved_at must be a datetime, not {reserved_at!r}")
    moment = None if reserved_at is None else moment_text(reserved_at)
    return _call("settle", fields, amount, usage, reserved_at=moment, **optional)


def charge(check: Call) -> Call:
    """Return the settle that charges a check which was allowed without its sidecar."""
    fields = {name: value for name, value in check.fields.items() if name != "meta"}
    moment = moment_text(check.made_at)
    return Call(operation="settle", fields=fields | {"reserved_at": moment}, made_at=check.made_at)


def resolution(operation: str, user_id: str, request_id: str, **optional: object) -> Call:
    """Return a release or an extend."""
    fields = {"request_id": request_id, "user_id": user_id} | _given(optional)
    return Call(operation=operation, fields=_plain(fields), made_at=datetime.now(UTC))


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
        fields["usage"] = _plain(_usage(usage).as_fields(actual=operation != "reserve"), "usage.")
    else:
        nanos = nanos_of(amount, name=name)
        fields[name] = usd_text(nanos)
    fields = _plain(fields | _given(optional))
    return Call(operation=operation, fields=fields, amount_nanos=nanos, made_at=datetime.now(UTC))


def _usage(usage: Usage) -> Usage:
    if not isinstance(usage, Usage):
        raise TypeError(f"usage must be a spendgate.Usage, not {usage!r}")
    return usage


def _meta(meta: Meta | None) -> dict[str, Any] | None:
    if not meta:
        return None
    if not isinstance(meta, Mapping):
        raise TypeError(f"meta must be a mapping, not {meta!r}")
    return _plain(dict(meta), "meta.")


def _plain(fields: dict[str, Any], within: str = "") -> dict[str, Any]:
    """Return fields that any format can hold; raises `TypeError` that names what none can."""
    for name, value in fields.items():
        if name in TEXTS and not within and not isinstance(value, str):
            raise TypeError(f"{name} must be a str, not {value!r}")
        if not isinstance(value, PLAIN) and (within or not isinstance(value, dict)):
            raise TypeError(f"{within}{name} must be text or a number, not {value!r}")
    return fields


def _given(optional: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in optional.items() if value is not None}
