"""Names: user ids, tiers, keys and request ids."""

import pytest

from ledger.errors import InvalidInput
from ledger.names import parse_name, parse_request_id


@pytest.mark.parametrize("name", ["u", "user-42", "Ümläut", "a b", "日本", "x" * 256, "a:b{c}", "*"])
def test_name_of_printable_characters_is_kept_as_it_is(name: str) -> None:
    """Any 1-256 printable characters make a name, unchanged."""
    assert name == parse_name(name, field="user_id")


@pytest.mark.parametrize(
    "value", ["", "x" * 257, "a\nb", "a\x1fb", "\ud800", "\x00", "a\u2028b", 42, None, True, b"u", ["u"]]
)
def test_what_is_no_name_is_refused_naming_the_field(value: object) -> None:
    """Empty, overlong and unprintable text, and other types, are refused with the field's name."""
    with pytest.raises(InvalidInput) as caught:
        parse_name(value, field="user_id")

    assert "user_id" == caught.value.field
    assert "user_id" in caught.value.message


def test_star_is_refused_where_asked() -> None:
    """The name of the template for every other tier is nobody's own name."""
    with pytest.raises(InvalidInput, match="tier must not be"):
        parse_name("*", field="tier", refuse_any_tier=True)


def test_request_id_may_have_128_characters() -> None:
    """The longest request id is accepted."""
    assert "r" * 128 == parse_request_id("r" * 128)


@pytest.mark.parametrize("value", ["", "r" * 129, "a\tb", 7])
def test_faulty_request_id_is_refused(value: object) -> None:
    """Empty, overlong and unprintable request ids, and other types, are refused."""
    with pytest.raises(InvalidInput) as caught:
        parse_request_id(value)

    assert "request_id" == caught.value.field
