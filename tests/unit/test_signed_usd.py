"""Amounts that may be below zero."""

import pytest

from ledger.errors import InvalidInput
from ledger.money import CAP_NANOS, parse_signed_usd


@pytest.mark.parametrize(
    ("value", "nanos"),
    [
        ("-5.00", -5_000_000_000),
        ("5", 5_000_000_000),
        (-0.1, -100_000_000),
        (-3, -3_000_000_000),
        ("-0.000000001", -1),
        ("-8000000", -CAP_NANOS),
        ("-0", 0),
        (-0.0, 0),
    ],
)
def test_a_minus_takes_away(value: object, nanos: int) -> None:
    """Text and numbers, to the nano, as far as the cap on both sides."""
    assert nanos == parse_signed_usd(value, field="usd")


@pytest.mark.parametrize(
    "value",
    [
        "--1",
        "-+1",
        "-",
        "- 1",
        "-\u0661",
        "-NaN",
        "-inf",
        float("-inf"),
        float("nan"),
        True,
        None,
        "-8000000.1",
        -8e6 - 1,
    ],
)
def test_what_is_no_amount_is_refused(value: object) -> None:
    """By the name of the field."""
    with pytest.raises(InvalidInput) as refused:
        parse_signed_usd(value, field="usd")

    assert "usd" == refused.value.field
