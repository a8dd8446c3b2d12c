"""Amounts for people: USD with few decimals. JSON output keeps the exact ones."""

from decimal import Decimal
from typing import Final

from ledger.money import MAX_DECIMALS, NANOS_PER_USD

NO_AMOUNT: Final = "-"


def fixed_text(nanos: int, decimals: int) -> str:
    """Return an amount in USD without a sign for the currency, rounded half up to `decimals` decimals (1 to 9)."""
    unit = 10 ** (MAX_DECIMALS - decimals)
    rounded = (abs(nanos) + unit // 2) // unit
    whole, fraction = divmod(rounded, 10**decimals)
    text = f"{whole:,}.{fraction:0{decimals}d}"
    return f"-{text}" if nanos < 0 and rounded else text


def cents_text(nanos: int) -> str:
    """Return an amount in cents; amounts below a dollar keep four decimals, because calls cost fractions of a cent."""
    return fixed_text(nanos, 2 if abs(nanos) >= NANOS_PER_USD else 4)


def amount_text(value: object) -> str:
    """Return an amount of a sidecar's answer, a JSON number or a decimal string, with its sign; ``-`` for null."""
    if not isinstance(value, int | float | str):
        return NO_AMOUNT
    nanos = int(Decimal(str(value)).scaleb(MAX_DECIMALS))
    text = cents_text(nanos)
    return f"-${text[1:]}" if text.startswith("-") else f"${text}"
