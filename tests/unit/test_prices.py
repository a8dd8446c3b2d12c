"""Prices: token usage to nano-USD."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.prices import MAX_FOUND, NO_PRICES, PriceBook, Priced
from ledger.usage import PARTS, WHOLES, Usage
from tests.support.prices import A_SONNET, book_of, cost_of, price_of

DAY_MS = 86_400_000
counts = st.integers(min_value=0, max_value=1_000_000_000)
rates = st.decimals(min_value=0, max_value=8_000_000, places=18).map(str) | st.sampled_from(["0", "0.0375", "1e-18"])


@pytest.mark.parametrize(
    ("tokens", "nanos"),
    [
        ({"input_tokens": 1000}, 3_000_000),
        ({"output_tokens": 1000}, 15_000_000),
        ({"cache_read_tokens": 1000}, 300_000),
        ({"cache_write_tokens": 1000}, 3_750_000),
        ({"input_tokens": 10, "output_tokens": 20, "cache_read_tokens": 30, "cache_write_tokens": 40}, 489_000),
        ({}, 0),
    ],
)
def test_each_kind_of_token_has_its_price(tokens: dict[str, int], nanos: int) -> None:
    """Input, output, cache reads and cache writes are priced apart and added."""
    assert nanos == cost_of(A_SONNET, **tokens)


def test_cost_is_rounded_up_once() -> None:
    """A millionth of a nano-USD costs a whole one, and parts are added before."""
    cheap = price_of(input_usd_per_million="1e-9", output_usd_per_million="1e-9")

    assert 1 == cost_of(cheap, input_tokens=1)
    assert 1 == cost_of(cheap, input_tokens=500_000, output_tokens=500_000)
    assert 2 == cost_of(cheap, input_tokens=500_000, output_tokens=500_001)


def test_a_rate_below_a_nano_a_token_loses_nothing() -> None:
    """At $0.0375 for a million tokens a token costs 37.5 nano-USD, two of them exactly 75."""
    price = price_of(input_usd_per_million="0.0375")

    assert [38, 75, 113] == [cost_of(price, input_tokens=tokens) for tokens in (1, 2, 3)]


@given(rates, rates, rates, counts, counts, counts)
def test_cost_is_the_exact_one_rounded_up(a: str, b: str, c: str, i: int, o: int, r: int) -> None:
    """However odd the rates are, the cost is never short and less than a nano-USD too much."""
    price = price_of(input_usd_per_million=a, output_usd_per_million=b, cache_read_usd_per_million=c)
    exact = (i * Fraction(a) + o * Fraction(b) + r * Fraction(c)) * 1000

    assert 0 <= cost_of(price, input_tokens=i, output_tokens=o, cache_read_tokens=r) - exact < 1


@pytest.mark.parametrize("part", PARTS)
def test_a_part_with_a_rate_of_its_own_costs_that_instead_of_its_whole(part: str) -> None:
    """Tokens of a part are counted in their whole, and paid once, at the part's rate."""
    rate = part.removesuffix("_tokens") + "_usd_per_million"
    price = price_of(input_usd_per_million=2, output_usd_per_million=2, **{rate: 7})

    assert 16_000 == cost_of(price, **{PARTS[part]: 3, part: 2})


@pytest.mark.parametrize("part", PARTS)
def test_a_part_without_a_rate_costs_what_its_whole_does(part: str) -> None:
    """Most models have one rate for all kinds of output."""
    assert cost_of(A_SONNET, **{PARTS[part]: 9}) == cost_of(A_SONNET, **{PARTS[part]: 9, part: 5})


def test_fees_are_paid_for_each_request_and_search() -> None:
    """A request costs its fee once, whatever its tokens, and each web search its own."""
    price = price_of(input_usd_per_million=1, request_usd="0.005", web_search_usd="0.01")

    assert 5_000_000 == cost_of(price)
    assert 25_001_000 == cost_of(price, input_tokens=1, web_searches=2)


TIERED = price_of(
    input_usd_per_million=1,
    output_usd_per_million=10,
    cache_read_usd_per_million="0.1",
    tiers=[
        {"above_input_tokens": 100, "input_usd_per_million": 2},
        {"above_input_tokens": 200, "output_usd_per_million": 30},
    ],
)


@pytest.mark.parametrize(
    ("tokens", "nanos"),
    [
        ({"input_tokens": 100, "output_tokens": 1}, 110_000),
        ({"input_tokens": 101, "output_tokens": 1}, 212_000),
        ({"input_tokens": 1, "cache_read_tokens": 100}, 12_000),
        ({"input_tokens": 1, "cache_write_tokens": 100}, 202_000),
        ({"input_tokens": 200, "output_tokens": 1}, 410_000),
        ({"input_tokens": 201, "output_tokens": 1}, 432_000),
    ],
)
def test_a_longer_prompt_costs_the_rates_of_its_tier(tokens: dict[str, int], nanos: int) -> None:
    """All tokens cost the tier's rates once the prompt, caches included, is longer; what it does not state stays."""
    assert nanos == cost_of(TIERED, **tokens)


def test_a_change_counts_from_its_day_on() -> None:
    """A price may name its successors; the last one that has begun counts."""
    later = {"input_usd_per_million": 2, "output_usd_per_million": 2}
    latest = {"input_usd_per_million": 3, "output_usd_per_million": 3}
    price = price_of(
        input_usd_per_million=1, changes=[{"from": "1970-01-02", **later}, {"from": "1970-01-03", **latest}]
    )

    moments = (0, DAY_MS - 1, DAY_MS, 2 * DAY_MS - 1, 2 * DAY_MS)
    assert [1000, 1000, 2000, 2000, 3000] == [cost_of(price, at_ms=moment, input_tokens=1) for moment in moments]


def test_a_change_may_hold_at_some_hours() -> None:
    """Off-peak prices hold between two times of the UTC day, across midnight too."""
    night = {"daily_from": "16:30", "daily_until": "00:30", "input_usd_per_million": 1, "output_usd_per_million": 1}
    price = price_of(input_usd_per_million=4, changes=[night])
    minutes = (0, 29, 30, 16 * 60 + 29, 16 * 60 + 30, 24 * 60 - 1)

    costs = [cost_of(price, at_ms=DAY_MS + minute * 60_000, input_tokens=1) for minute in minutes]
    assert [1000, 1000, 4000, 4000, 1000, 1000] == costs


def test_unknown_model_has_no_price() -> None:
    """An unknown model is a state of its own, not a zero."""
    assert NO_PRICES.price(Usage(model="m", input_tokens=1), 0) is None


def test_price_of_zero_is_a_price() -> None:
    """A free model costs nothing and is not unknown."""
    book = book_of(price_of(input_usd_per_million=0, output_usd_per_million=0))

    assert Priced(0, book.version) == book.price(Usage(model="m", input_tokens=1), 0)


def test_output_of_a_model_that_has_none_has_no_price() -> None:
    """An embedding model states no rate for output; a call with output is unpriced, not cheap."""
    price = price_of(input_usd_per_million=1, output_usd_per_million=None)

    assert 1000 == cost_of(price, input_tokens=1)
    assert cost_of(price, input_tokens=1, output_tokens=1) is None


def test_a_price_tells_the_version_of_its_book() -> None:
    """Each charge is recorded with the prices that made it."""
    book = PriceBook(version="v7", models=book_of(A_SONNET).models)

    assert Priced(3000, "v7") == book.price(Usage(model="m", input_tokens=1), 0)


def test_more_names_than_are_remembered_are_found_all_the_same() -> None:
    """What is remembered of names is bounded, and forgetting changes no price."""
    book = book_of(A_SONNET)
    strangers = [book.price(Usage(model=f"stranger-{number}"), 0) for number in range(MAX_FOUND + 1)]

    assert not any(strangers)
    assert len(book._found) <= MAX_FOUND
    assert (Priced(0, book.version)) == book.price(Usage(model="m"), 0)


@pytest.mark.parametrize("name", [*WHOLES, *PARTS, "web_searches"])
def test_canonical_text_tells_counts_apart(name: str) -> None:
    """Every count of a usage changes its canonical text."""
    assert Usage(model="m").canonical != Usage(model="m", **{name: 1}).canonical


def test_canonical_text_tells_names_apart() -> None:
    """Model and provider count too."""
    usages = [Usage(model="m"), Usage(model="n"), Usage(model="m", provider="p")]
    assert 3 == len({usage.canonical for usage in usages})
