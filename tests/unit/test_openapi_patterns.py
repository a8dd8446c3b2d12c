"""The patterns of the OpenAPI document: what they admit is what the sidecar reads."""

import re
import unicodedata

import pytest

from ledger.errors import InvalidInput
from ledger.json_schema import PRINTABLE_PATTERN, USD_PATTERN
from ledger.money import parse_usd

FIRST_PLANE = range(0x10000)
SURROGATES = range(0xD800, 0xE000)


def test_names_may_have_the_characters_that_python_prints() -> None:
    """Of every assigned character of the first plane, pattern and decoder say the same."""
    assigned = [chr(code) for code in FIRST_PLANE if code not in SURROGATES and unicodedata.category(chr(code)) != "Cn"]
    printable = re.compile(PRINTABLE_PATTERN)
    assert [] == [text for text in assigned if text.isprintable() is not bool(printable.fullmatch(text))]


@pytest.mark.parametrize("text", ["0", "7", "0.000000001", "7999999.999999999", "8000000", "8000000.000", "1234567"])
def test_a_decimal_string_that_matches_is_an_amount(text: str) -> None:
    """Up to the cap, with at most 9 decimals."""
    assert re.fullmatch(USD_PATTERN, text)
    parse_usd(text, field="cost_usd")


@pytest.mark.parametrize(
    "text", ["", "8000000.01", "8000001", "9000000", "80000000", "0.0000000001", "-1", "one", "1,5"]
)
def test_a_decimal_string_that_is_no_amount_does_not_match(text: str) -> None:
    """Beyond the cap, too fine, negative, or no number."""
    assert not re.fullmatch(USD_PATTERN, text)
    with pytest.raises(InvalidInput):
        parse_usd(text, field="cost_usd")
