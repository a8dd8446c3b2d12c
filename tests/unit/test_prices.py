"""Prices: token usage to nano-USD."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.prices import NO_PRICES, Price, PriceBook, Usage

PRICE = Price(
    input_nanos=3_000_000_000,
    output_nanos=15_000_000_000,
    cache_read_nanos=300_000_000,
    cache_write_nanos=3_750_000_000,
)
CHEAP = Price(input_nanos=1, output_nanos=1, cache_read_nanos=1, cache_write_nanos=1)
tokens = st.integers(min_value=0, max_value=1_000_000_000)


@pytest.mark.parametrize(
    ("usage", "nanos"),
    [
        (Usage(model="m", input_tokens=1000), 3_000_000),
        (Usage(model="m", output_tokens=1000), 15_000_000),
        (Usage(model="m", cache_read_tokens=1000), 300_000),
        (Usage(model="m", cache_write_tokens=1000), 3_750_000),
        (Usage(model="m", input_tokens=10, output_tokens=20, cache_read_tokens=30, cache_write_tokens=40), 489_000),
        (Usage(model="m"), 0),
    ],
)
def test_each_kind_of_token_has_its_price(usage: Usage, nanos: int) -> None:
    """Input, output, cache reads and cache writes are priced apart and added."""
    assert nanos == PRICE.cost_nanos(usage)


def test_reasoning_tokens_are_part_of_the_output() -> None:
    """Reasoning tokens are told, and already counted as output."""
    plain = Usage(model="m", output_tokens=1000)

    assert PRICE.cost_nanos(plain) == PRICE.cost_nanos(Usage(model="m", output_tokens=1000, reasoning_tokens=900))


def test_cost_is_rounded_up_once() -> None:
    """A millionth of a nano-USD costs a whole one, and parts are added before."""
    assert 1 == CHEAP.cost_nanos(Usage(model="m", input_tokens=1))
    assert 1 == CHEAP.cost_nanos(Usage(model="m", input_tokens=500_000, output_tokens=500_000))
    assert 2 == CHEAP.cost_nanos(Usage(model="m", input_tokens=500_000, output_tokens=500_001))


@given(tokens, tokens)
def test_cost_is_never_short_and_less_than_a_nano_too_much(input_tokens: int, output_tokens: int) -> None:
    """The cost is the exact one rounded up."""
    cost = PRICE.cost_nanos(Usage(model="m", input_tokens=input_tokens, output_tokens=output_tokens))
    exact = input_tokens * PRICE.input_nanos + output_tokens * PRICE.output_nanos

    assert 0 <= cost * 1_000_000 - exact < 1_000_000


def test_unknown_model_has_no_cost() -> None:
    """An unknown model is a state of its own, not a zero."""
    assert NO_PRICES.cost_nanos(Usage(model="m", input_tokens=1)) is None


def test_price_of_the_provider_goes_before_the_one_for_all() -> None:
    """A price without provider serves those that have none of their own."""
    book = PriceBook({(None, "m"): CHEAP, ("openai", "m"): PRICE})

    assert 3_000_000 == book.cost_nanos(Usage(provider="openai", model="m", input_tokens=1000))
    assert 1 == book.cost_nanos(Usage(provider="azure", model="m", input_tokens=1000))
    assert 1 == book.cost_nanos(Usage(model="m", input_tokens=1000))


def test_price_of_a_provider_is_not_for_calls_without_one() -> None:
    """A call that names no provider gets no provider's price."""
    assert PriceBook({("openai", "m"): PRICE}).cost_nanos(Usage(model="m", input_tokens=1)) is None


def test_price_of_zero_is_a_price() -> None:
    """A free model costs nothing and is not unknown."""
    free = Price(input_nanos=0, output_nanos=0, cache_read_nanos=0, cache_write_nanos=0)

    assert 0 == PriceBook({("own", "m"): free}).cost_nanos(Usage(provider="own", model="m", input_tokens=1))


@pytest.mark.parametrize(
    "other",
    [
        Usage(model="n"),
        Usage(model="m", provider="p"),
        Usage(model="m", input_tokens=1),
        Usage(model="m", output_tokens=1),
        Usage(model="m", cache_read_tokens=1),
        Usage(model="m", cache_write_tokens=1),
        Usage(model="m", reasoning_tokens=1),
    ],
)
def test_canonical_text_tells_usages_apart(other: Usage) -> None:
    """Every field of a usage changes its canonical text."""
    assert Usage(model="m").canonical != other.canonical
