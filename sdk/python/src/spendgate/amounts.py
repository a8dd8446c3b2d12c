"""Amounts of USD: what a caller writes to integer nano-USD, and to the text that the sidecar reads."""

from decimal import ROUND_CEILING, Context, Decimal, InvalidOperation
from typing import Final

from spendgate.errors import InvalidAmountError

NANOS_PER_USD: Final = 1_000_000_000
CAP_NANOS: Final = 8_000_000 * NANOS_PER_USD
DECIMALS: Final = 9
CERTAIN_DIGITS: Final = 15
"""As many decimal digits of a double are certain (C's DBL_DIG); what stands behind them is noise of arithmetic."""
MAX_TEXT_LENGTH: Final = 400

_EXACT: Final = Context(prec=2 * MAX_TEXT_LENGTH)

Amount = Decimal | int | float | str
"""USD. Decimals and text count exactly, a float with the digits that are certain."""


def nanos_of(amount: object, *, name: str) -> int:
    """Return nano-USD; what is finer than a billionth of a dollar is rounded up, so that no amount is short.

    Raises `InvalidAmountError` that names the amount: not finite, negative, beyond 8,000,000 USD, or no number.
    """
    usd = _decimal(amount, name)
    if not usd.is_finite():
        raise InvalidAmountError(f"{name} must be finite, not {amount!r}")
    if usd < 0:
        raise InvalidAmountError(f"{name} must not be negative, and is {amount!r}")
    if usd.adjusted() > DECIMALS:
        raise InvalidAmountError(f"{name} is beyond the cap of 8,000,000 USD")
    scaled = usd.scaleb(DECIMALS, context=_EXACT) if usd.adjusted() >= -MAX_TEXT_LENGTH else Decimal(usd != 0)
    nanos = int(scaled.to_integral_value(ROUND_CEILING, context=_EXACT))
    if nanos > CAP_NANOS:
        raise InvalidAmountError(f"{name} is beyond the cap of 8,000,000 USD")
    return nanos


def usd_text(nanos: int) -> str:
    """Return the exact decimal text of nano-USD."""
    whole, fraction = divmod(nanos, NANOS_PER_USD)
    digits = f"{fraction:0{DECIMALS}d}".rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)


def _decimal(amount: object, name: str) -> Decimal:
    if isinstance(amount, bool) or not isinstance(amount, Decimal | int | float | str):
        raise InvalidAmountError(f"{name} must be a Decimal, a number or a decimal string, not {amount!r}")
    if isinstance(amount, float):
        return _certain(amount)
    if isinstance(amount, int) and abs(amount) > CAP_NANOS:
        raise InvalidAmountError(f"{name} must lie between 0 and 8,000,000 USD")
    try:
        return Decimal(amount)
    except InvalidOperation:
        raise InvalidAmountError(f"{name} must be a decimal number, not {amount!r}") from None


def _certain(amount: float) -> Decimal:
    """Return a float as it was meant: ``0.1 + 0.2`` is 0.3, though the float next to it is 0.30000000000000004."""
    shortest = Decimal(float.__repr__(amount))
    exponent = shortest.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -DECIMALS:
        return Decimal(float.__format__(amount, f".{CERTAIN_DIGITS}g"))
    return shortest
