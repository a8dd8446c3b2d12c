"""Amounts of USD: exact, rounded up where finer than a billionth, and never what is no amount."""

import math
from decimal import Decimal

import pytest
from spendgate import InvalidAmountError, SpendgateError
from spendgate.amounts import nanos_of, usd_text


class NumpyLike(float):
    """A float as numpy's: its text is no number."""

    def __repr__(self) -> str:
        return f"np.float64({float(self)})"

    def __format__(self, spec: str) -> str:
        return repr(self)


@pytest.mark.parametrize(
    ("expected", "amount"),
    [
        (0, 0),
        (250_000_000, NumpyLike(0.25)),
        (300_000_000, NumpyLike(0.1 + 0.2)),
        (1, Decimal("0.000000001")),
        (1, "0.0000000001"),
        (1, 1e-300),
        (100_000_000, 0.1),
        (300_000_000, 0.1 + 0.2),
        (1_542_500, 1234 * 0.00000125),
        (7_999_999_123_456_789, 7999999.123456789),
        (8_000_000_000_000_000, 8_000_000),
        (2_000_000_000, Decimal("2E0")),
    ],
)
def test_amounts_are_nano_usd(expected: int, amount: object) -> None:
    """Decimals, text and whole numbers are exact, a float is what it was meant to be, and nothing is short."""
    assert expected == nanos_of(amount, name="cost_usd")


@pytest.mark.parametrize(
    "amount", [math.nan, math.inf, -0.01, -1, True, None, "", "a", "NaN", b"1", 8_000_000.01, 10**30, Decimal("1E+999")]
)
def test_what_is_no_amount_is_refused_by_name(amount: object) -> None:
    """An amount that is none is a `ValueError` that names the field, before anything is sent."""
    with pytest.raises(InvalidAmountError, match="cost_usd") as caught:
        nanos_of(amount, name="cost_usd")

    assert (True, True) == (isinstance(caught.value, ValueError), isinstance(caught.value, SpendgateError))


@pytest.mark.parametrize(
    ("expected", "nanos"), [("0", 0), ("0.000000001", 1), ("1.5", 1_500_000_000), ("20", 2 * 10**10)]
)
def test_text_is_exact(expected: str, nanos: int) -> None:
    """What goes out reads back to the same nano-USD."""
    assert (expected, nanos) == (usd_text(nanos), nanos_of(usd_text(nanos), name="cost_usd"))
