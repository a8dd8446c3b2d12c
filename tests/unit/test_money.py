"""Money: USD text and JSON numbers to nano-USD and back."""

import json
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import InvalidInput
from ledger.money import CAP_NANOS, NANOS_PER_USD, parse_usd, usd_number, usd_text

amounts = st.integers(min_value=0, max_value=CAP_NANOS)


@pytest.mark.parametrize(
    ("value", "nanos"),
    [
        (0, 0),
        (1, 1_000_000_000),
        (0.1, 100_000_000),
        (1e-9, 1),
        (8_000_000, CAP_NANOS),
        ("8000000.000000000", CAP_NANOS),
        ("0.000000001", 1),
        ("12.50", 12_500_000_000),
        ("1e-9", 1),
        ("1E2", 100_000_000_000),
        (-0.0, 0),
        ("0.10000000000000", 100_000_000),
    ],
)
def test_amount_is_read_to_the_last_nano(value: object, nanos: int) -> None:
    """Numbers and decimal strings of at most 9 decimals are exact."""
    assert nanos == parse_usd(value, field="cost_usd")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-1, "must not be negative"),
        ("-0.000000001", "must not be negative"),
        ("0.0000000001", "more than 9 decimals"),
        (0.1 + 0.2, "more than 9 decimals"),
        ("0.10000000000000000000000000000000000001", "more than 9 decimals"),
        ("1e-9999999", "more than 9 decimals"),
        (float("nan"), "finite"),
        (float("inf"), "finite"),
        ("NaN", "finite"),
        ("-Infinity", "finite"),
        (8_000_001, "beyond the cap"),
        ("8000000.000000001", "beyond the cap"),
        ("1e999999999", "beyond the cap"),
        (10**40, "beyond the cap"),
        (True, "number or a decimal string"),
        (None, "number or a decimal string"),
        ([1], "number or a decimal string"),
        ("", "decimal number"),
        (" 1", "decimal number"),
        ("1_000", "decimal number"),
        ("1,5", "decimal number"),
        ("٣", "decimal number"),
        ("0x10", "decimal number"),
        ("0" * 41, "decimal number"),
    ],
)
def test_what_is_no_amount_is_refused_naming_the_field(value: object, message: str) -> None:
    """Everything that is no exact amount within the cap is refused with the field's name."""
    with pytest.raises(InvalidInput, match=message) as caught:
        parse_usd(value, field="cost_usd")

    assert "cost_usd" == caught.value.field


@given(amounts)
def test_json_number_reads_back_to_the_same_nanos(nanos: int) -> None:
    """Below the cap an amount survives a JSON number."""
    assert nanos == parse_usd(json.loads(json.dumps(usd_number(nanos))), field="spend_usd")


@given(amounts)
def test_text_reads_back_to_the_same_nanos(nanos: int) -> None:
    """An amount survives its decimal text."""
    assert nanos == parse_usd(usd_text(nanos), field="spend_usd")


@given(st.integers(min_value=-(10**30), max_value=10**30))
def test_text_is_the_exact_decimal(nanos: int) -> None:
    """The text of an amount is its exact value, whatever its size."""
    assert nanos == Fraction(usd_text(nanos)) * NANOS_PER_USD


@pytest.mark.parametrize("nanos", [CAP_NANOS + 1, -CAP_NANOS - 1])
def test_amount_beyond_the_cap_goes_out_as_text(nanos: int) -> None:
    """Beyond the cap a JSON number would lose digits, so that the wire has a string."""
    assert usd_text(nanos) == usd_number(nanos)


@pytest.mark.parametrize(
    ("nanos", "decimals", "text"),
    [
        (8_200_000_000, 2, "8.20"),
        (1, 2, "0.000000001"),
        (-1, 2, "-0.000000001"),
        (NANOS_PER_USD, 0, "1"),
        (0, 2, "0.00"),
        (0, 0, "0"),
    ],
)
def test_text_has_at_least_the_decimals_asked_for(nanos: int, decimals: int, text: str) -> None:
    """Zeros are kept up to `decimals`, digits are never cut."""
    assert text == usd_text(nanos, decimals=decimals)
