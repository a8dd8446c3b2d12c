"""Price books from documents: every fault with its path, and back."""

import json
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import RuleSetInvalid
from ledger.price_parsing import dump_prices, parse_overrides, parse_price_book
from ledger.prices import NO_PRICES
from tests.support.prices import price_of

PRICE = price_of(input_usd_per_million=1)
CHANGE = {"from": "2031-01-31", "input_usd_per_million": 1, "output_usd_per_million": 1}


def faults_of(document: object) -> list[str]:
    """Return the faults of a document as text."""
    with pytest.raises(RuleSetInvalid) as caught:
        parse_price_book(document)
    return [f"{path} {message}" for path, message in caught.value.faults]


@pytest.mark.parametrize("nothing", [None, []])
def test_nothing_is_an_empty_book(nothing: object) -> None:
    """No prices are no fault: then no model has one."""
    assert NO_PRICES == parse_price_book(nothing)
    assert [] == dump_prices(parse_price_book(nothing))


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"model": None}, "prices[0].model is required"),
        ({"input_usd_per_million": None}, "prices[0].input_usd_per_million is required"),
        ({"input_usd_per_million": -1}, "prices[0].input_usd_per_million must not be negative"),
        ({"input_usd_per_million": "1e-19"}, "prices[0].input_usd_per_million has more than 18 decimals"),
        ({"input_usd_per_million": "NaN"}, "prices[0].input_usd_per_million must be finite"),
        ({"input_usd_per_million": True}, "prices[0].input_usd_per_million must be a number"),
        ({"input_usd_per_million": " 1"}, "prices[0].input_usd_per_million must be a decimal number"),
        ({"input_usd_per_million": "one"}, "prices[0].input_usd_per_million must be a decimal number"),
        ({"input_usd_per_million": 8_000_001}, "prices[0].input_usd_per_million is beyond the cap"),
        ({"request_usd": []}, "prices[0].request_usd must be a number"),
        ({"input_usd": 1}, "prices[0].input_usd unknown field"),
        ({"output_usd_per_million": None, "reasoning_usd_per_million": 1}, "prices[0].reasoning_usd_per_million needs"),
        ({"names": "m"}, "prices[0].names must be a list"),
        ({"names": ["a", ""]}, "prices[0].names[1] must not be empty"),
        ({"names": ["**"]}, "prices[0].names[0] matches every name"),
        ({"names": ["/(/"]}, "prices[0].names[0] is no regular expression"),
        ({"names": [["a", 7]]}, "prices[0].names[0] must be text"),
        ({"context_tokens": 0}, "prices[0].context_tokens must be a whole number from 1"),
        ({"max_output_tokens": True}, "prices[0].max_output_tokens must be a whole number from 1"),
        ({"tiers": {}}, "prices[0].tiers must be a list"),
        ({"tiers": [{"input_usd_per_million": 2}]}, "prices[0].tiers[0].above_input_tokens is required"),
        ({"tiers": [{"above_input_tokens": 2}] * 2}, "prices[0].tiers[1].above_input_tokens must be larger"),
        ({"changes": {}}, "prices[0].changes must be a list"),
        ({"changes": [{**CHANGE, "from": None}]}, "prices[0].changes[0] needs from"),
        ({"changes": [{**CHANGE, "from": "soon"}]}, "prices[0].changes[0].from must be a day"),
        ({"changes": [{**CHANGE, "from": "2031-13-31"}]}, "prices[0].changes[0].from must be a day"),
        ({"changes": [{**CHANGE, "daily_from": 990, "daily_until": "00:30"}]}, "prices[0].changes[0].daily_from must"),
        ({"changes": [{**CHANGE, "daily_from": "16:30"}]}, "prices[0].changes[0] has daily_from and daily_until"),
        ({"changes": [{"from": "2031-01-31"}]}, "prices[0].changes[0].input_usd_per_million is required"),
    ],
)
def test_faults_have_their_path(fields: dict[str, Any], fault: str) -> None:
    """What an operator wrote is refused where it stands."""
    assert [True] == [line.startswith(fault) for line in faults_of([{**PRICE, **fields}])][:1]


def test_output_must_be_stated() -> None:
    """A forgotten price of the output would be a gift; null says that there is none."""
    assert ["prices[0].output_usd_per_million is required; null for a model without output"] == faults_of(
        [{"model": "m", "input_usd_per_million": 1}]
    )


def test_all_faults_are_listed() -> None:
    """A book is refused with everything that is wrong in it."""
    document = {
        "providers": [{"names": 1}],
        "models": [{**PRICE, "model": ""}, PRICE, PRICE],
        "overrides": "none",
        "made_by": "hand",
    }
    expected = [
        "prices.made_by unknown field",
        "prices.overrides must be a list of at most 100000 prices",
        "prices.models[0].model must not be empty",
        "prices.models[2] has the provider and model of prices.models[1]",
        "prices.version is required",
        "prices.providers[0].id is required",
        "prices.providers[0].names must be a list of at most 100 names or patterns",
    ]
    assert expected == faults_of(document)


def test_faults_of_overrides_have_a_path_of_their_own() -> None:
    """An operator's file is a list of prices."""
    with pytest.raises(RuleSetInvalid, match=r"overrides\[0\].model: is required"):
        parse_overrides([{**PRICE, "model": None}])


def test_names_differ_by_more_than_case() -> None:
    """Names are compared without case, so two prices may not differ by nothing else."""
    assert ["prices[1] has the provider and model of prices[0]"] == faults_of([PRICE, {**PRICE, "model": "M"}])


def test_a_day_may_be_what_yaml_makes_of_it() -> None:
    """YAML reads a day without quotes as a date."""
    days = ("2031-01-31", date(2031, 1, 31))
    text, made = (parse_price_book([{**PRICE, "changes": [{**CHANGE, "from": day}]}]) for day in days)

    assert text == made


def test_prices_of_ones_own_have_a_version_that_follows_from_them() -> None:
    """Nobody has to count up a version by hand."""
    versions = {parse_price_book([{**PRICE, "input_usd_per_million": rate}]).version for rate in (1, "1.0", 2)}

    assert 2 == len(versions)
    assert {True} == {version.startswith("own prices ") for version in versions}


names = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=10)
rates = st.decimals(min_value=0, max_value=8_000_000, places=18).map(str) | st.integers(0, 8_000_000)
tokens = st.integers(1, 1_000_000_000)
rate_fields = {"cache_write_1h_usd_per_million": rates, "request_usd": rates, "reasoning_usd_per_million": rates}
required = {"input_usd_per_million": rates, "output_usd_per_million": rates}
tiers = st.lists(
    st.fixed_dictionaries({"above_input_tokens": tokens}, optional={"input_usd_per_million": rates}),
    max_size=3,
    unique_by=lambda tier: tier["above_input_tokens"],
).map(lambda made: sorted(made, key=lambda tier: tier["above_input_tokens"]))
changes = st.fixed_dictionaries({"from": st.dates(date(1970, 1, 1)).map(date.isoformat), **required}) | st.builds(
    lambda change: {"daily_from": "16:30", "daily_until": "00:05", **change}, st.fixed_dictionaries(required)
)
prices = st.lists(
    st.fixed_dictionaries(
        {"model": names, **required},
        optional={
            "provider": names,
            "names": st.lists(st.sampled_from(["a", "b*", "/c/", ["d*", "*e"]]), max_size=3),
            "tiers": tiers,
            "changes": st.lists(changes, max_size=2),
            "context_tokens": tokens,
            "max_output_tokens": tokens,
            **rate_fields,
        },
    ),
    max_size=3,
    unique_by=lambda price: (price.get("provider", "").lower(), price["model"].lower()),
)
books = st.fixed_dictionaries(
    {"version": names, "models": prices},
    optional={
        "source": names,
        "built_at": st.just("2031-01-31T12:00:00Z"),
        "overrides": prices,
        "providers": st.just([{"id": "p", "names": ["*p*"], "models": ["q"], "serves": ["r"]}]),
    },
)


@given(prices | books)
def test_a_dumped_book_reads_back_the_same(document: object) -> None:
    """A book survives the way through JSON in every field."""
    book = parse_price_book(document)

    assert book == parse_price_book(json.loads(json.dumps(dump_prices(book))))
