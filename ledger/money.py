"""USD text and JSON numbers to integer nano-USD and back. One USD is 1,000,000,000 nano-USD.

Amounts and limits are capped at 8,000,000 USD. That is 8e15 nano-USD, below 2**53, so that Lua's doubles hold them
exactly, and below 2**23 USD, so that the shortest form of a JSON number reads back to the same nano-USD.
"""

from decimal import Context, Decimal, InvalidOperation
from typing import Final

from ledger.errors import InvalidInput

NANOS_PER_USD: Final = 1_000_000_000
CAP_USD: Final = 8_000_000
CAP_NANOS: Final = CAP_USD * NANOS_PER_USD
MAX_DECIMALS: Final = 9
MAX_TEXT_LENGTH: Final = 40

_EXACT: Final = Context(prec=2 * MAX_TEXT_LENGTH)
"""Keeps every digit of the longest text; the usual context would round to 28 digits, in silence."""


def parse_usd(value: object, *, field: str) -> int:
    """Return the nano-USD of a JSON number or a decimal string.

    A float counts with the decimals of its shortest form, as JSON shows it. Raises `InvalidInput` naming `field`
    for more than 9 decimals, negative or not finite values, booleans, other types, and values beyond the cap.
    """
    if type(value) is float and 0.0 <= value <= CAP_USD:
        # The product only proposes: below the cap no two amounts of whole nano-USD share a float, so the one whose
        # correctly rounded quotient is this very float is the amount that was written.
        nanos = round(value * NANOS_PER_USD)
        if nanos / NANOS_PER_USD == value:
            return nanos
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise InvalidInput(f"{field} must be a number or a decimal string", field=field)
    if isinstance(value, int):
        return _within_cap(value * NANOS_PER_USD, field)
    return _parse_decimal(value if isinstance(value, str) else repr(value), field)


def parse_signed_usd(value: object, *, field: str) -> int:
    """Return the nano-USD of an amount that may be below zero, bounded by the cap on both sides; see `parse_usd`."""
    if isinstance(value, str) and value.startswith("-") and not value.startswith(("--", "-+")):
        return -parse_usd(value[1:], field=field)
    if isinstance(value, int | float) and not isinstance(value, bool) and value < 0:
        return -parse_usd(-value, field=field)
    return parse_usd(value, field=field)


def usd_number(nanos: int) -> float | str:
    """Return the JSON value of an amount: a number that reads back to the same nano-USD, a string beyond the cap.

    Python divides two integers with one correct rounding, so below the cap the shortest form of the quotient is the
    decimal that was meant.
    """
    if -CAP_NANOS <= nanos <= CAP_NANOS:
        return nanos / NANOS_PER_USD
    return usd_text(nanos)


def usd_text(nanos: int, *, decimals: int = 2) -> str:
    """Return the exact decimal text of an amount, with at least `decimals` decimals: ``"8.20"``, ``"0.000000001"``."""
    sign = "-" if nanos < 0 else ""
    whole, fraction = divmod(abs(nanos), NANOS_PER_USD)
    digits = f"{fraction:09d}".rstrip("0").ljust(decimals, "0")
    return f"{sign}{whole}.{digits}" if digits else f"{sign}{whole}"


def _parse_decimal(text: str, field: str) -> int:
    if len(text) > MAX_TEXT_LENGTH or not text.isascii() or "_" in text or text != text.strip():
        raise InvalidInput(f"{field} must be a decimal number", field=field)
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise InvalidInput(f"{field} must be a decimal number", field=field) from None
    if not amount.is_finite():
        raise InvalidInput(f"{field} must be finite", field=field)
    if amount.adjusted() > MAX_TEXT_LENGTH:
        raise _beyond_cap(field)
    if amount and amount.adjusted() < -MAX_DECIMALS:
        raise _too_many_decimals(field)
    exact_nanos = amount.scaleb(MAX_DECIMALS, context=_EXACT)
    whole = int(exact_nanos)
    if exact_nanos != whole:
        raise _too_many_decimals(field)
    return _within_cap(whole, field)


def _within_cap(nanos: int, field: str) -> int:
    if nanos < 0:
        raise InvalidInput(f"{field} must not be negative", field=field)
    if nanos > CAP_NANOS:
        raise _beyond_cap(field)
    return nanos


def _too_many_decimals(field: str) -> InvalidInput:
    return InvalidInput(f"{field} has more than {MAX_DECIMALS} decimals", field=field)


def _beyond_cap(field: str) -> InvalidInput:
    return InvalidInput(f"{field} is beyond the cap of 8,000,000 USD", field=field)
