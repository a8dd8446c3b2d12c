"""Model names: aliases, patterns, dates, prefixes and providers find the price that is meant."""

import pytest

from ledger.model_names import NameIndex, matcher
from ledger.price_parsing import parse_price_book
from ledger.prices import PriceBook
from tests.support.prices import book_of, price_of

SOURCE = {
    "version": "v",
    "providers": [
        {"id": "openai", "names": ["*openai*"], "models": ["gpt-*", "/^o[134]/"]},
        {"id": "azure", "serves": ["openai"]},
        {"id": "anthropic", "models": ["*claude*"]},
        {"id": "aws", "names": ["*bedrock*"]},
    ],
    "models": [
        {"provider": "openai", **price_of(model="gpt-4o", input_usd_per_million=1)},
        {"provider": "openai", **price_of(model="gpt-4o-mini", names=["gpt-4o-mini-*"], input_usd_per_million=2)},
        {"provider": "openai", **price_of(model="gpt-5.2-2025-12-11", input_usd_per_million=3)},
        {"provider": "openai", **price_of(model="o1", input_usd_per_million=4)},
        {"provider": "azure", **price_of(model="phi-4", input_usd_per_million=5)},
        {"provider": "anthropic", **price_of(model="claude-x", names=[["claude-x*", "/^(?!.*tts)/"]])}
        | {"input_usd_per_million": 6},
        {"provider": "aws", **price_of(model="anthropic.claude-x", names=["*anthropic.claude-x*"])}
        | {"input_usd_per_million": 7},
    ],
}


def found(book: PriceBook, provider: str | None, model: str) -> str | None:
    """Return the name of the price that a call's names find."""
    price = book.find(provider, model)
    return None if price is None else price.model.name


@pytest.mark.parametrize(
    ("provider", "model", "name"),
    [
        ("openai", "gpt-4o", "openai/gpt-4o"),
        ("OpenAI", "GPT-4o", "openai/gpt-4o"),
        (None, "gpt-4o", "openai/gpt-4o"),
        (None, "openai/gpt-4o", "openai/gpt-4o"),
        ("openai", "openai/gpt-4o", "openai/gpt-4o"),
        ("my-openai-proxy", "gpt-4o", "openai/gpt-4o"),
        ("litellm", "openai/gpt-4o", "openai/gpt-4o"),
        ("litellm", "gpt-4o", "openai/gpt-4o"),
        ("openai", "gpt-4o-mini-2024-07-18", "openai/gpt-4o-mini"),
        ("openai", "gpt-4o-2031-01-31", "openai/gpt-4o"),
        ("openai", "gpt-4o-20310131", "openai/gpt-4o"),
        ("openai", "gpt-5.2-20251211", "openai/gpt-5.2-2025-12-11"),
        (None, "o1", "openai/o1"),
        ("azure", "gpt-4o", "openai/gpt-4o"),
        (None, "azure/gpt-4o", "openai/gpt-4o"),
        (None, "azure/phi-4", "azure/phi-4"),
        (None, "claude-x-5", "anthropic/claude-x"),
        (None, "claude-x@20310131", "anthropic/claude-x"),
        (None, "bedrock/us.anthropic.claude-x-v2:0", "aws/anthropic.claude-x"),
        ("aws", "anthropic.claude-x", "aws/anthropic.claude-x"),
        (None, "claude-x-tts", None),
        (None, "phi-4", "azure/phi-4"),
        (None, "phi-4-20310131", "azure/phi-4"),
        ("openai", "phi-4", None),
        ("stranger", "gpt-4o", None),
        (None, "stranger/gpt-4o", None),
        (None, "ft:gpt-4o:org::id", None),
        ("openai", "gpt-4o-2031-13-31", None),
        ("openai", "openai/", None),
    ],
)
def test_names_find_the_price_that_is_meant(provider: str | None, model: str, name: str | None) -> None:
    """What is not known by any of its names has no price: a guess would be a wrong charge."""
    assert name == found(parse_price_book(SOURCE), provider, model)


def test_a_name_of_two_providers_is_found_if_it_costs_the_same() -> None:
    """If not, one of them costs more, and nothing is guessed at; the one that passes another's models on comes last."""
    own = price_of(model="shared", input_usd_per_million=1)
    models = [{"provider": provider, **own} for provider in ("reseller", "p")]
    providers = [{"id": "reseller", "serves": ["p"]}]
    book = parse_price_book({"version": "v", "providers": providers, "models": models})
    dear = parse_price_book({"version": "v", "models": [*models, {"provider": "q", **own, "request_usd": 1}]})

    assert ["p/shared", None, "q/shared"] == [
        found(book, None, "shared"),
        found(dear, None, "shared"),
        found(dear, "q", "shared"),
    ]


def test_overrides_go_before_the_source() -> None:
    """An operator's price counts for each provider it serves, and the source's for the rest."""
    negotiated = {"provider": "openai", **price_of(model="gpt-4o", input_usd_per_million=9)}
    for_all = price_of(model="claude-x", names=["claude-x*"], input_usd_per_million=8)
    book = parse_price_book({**SOURCE, "overrides": [negotiated, for_all]})

    assert [book.overrides[0]] * 3 == [
        price.model for name in ("gpt-4o", "openai/gpt-4o", "azure/gpt-4o") if (price := book.find(None, name))
    ]
    assert "claude-x" == found(book, "anthropic", "claude-x-5")
    assert "claude-x" == found(book, "stranger", "claude-x-5")
    assert "openai/gpt-4o-mini" == found(book, "openai", "gpt-4o-mini")


def test_an_override_without_its_date_does_not_hide_a_dated_price() -> None:
    """A date is dropped only where nothing knows the name with it."""
    override = price_of(model="gpt-5.2", input_usd_per_million=9)
    book = parse_price_book({**SOURCE, "overrides": [override]})

    assert "openai/gpt-5.2-2025-12-11" == found(book, "openai", "gpt-5.2-2025-12-11")
    assert "gpt-5.2" == found(book, "openai", "gpt-5.2-2031-01-31")


def test_price_of_the_provider_goes_before_the_one_for_all() -> None:
    """A price without provider serves those that have none of their own."""
    book = book_of(price_of(input_usd_per_million=1), {"provider": "openai", **price_of(input_usd_per_million=2)})

    assert "openai/m" == found(book, "openai", "m")
    assert "m" == found(book, "azure", "m")
    assert "m" == found(book, None, "m")


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("m", ["m"], ["mm", ""]),
        ("m*", ["m", "m1"], ["1m"]),
        ("*m", ["m", "1m"], ["m1"]),
        ("*m*", ["m", "1m1"], ["n"]),
        ("a*b", ["ab", "axb"], ["abx", "xab"]),
        ("a.c*d", ["a.cd"], ["abcd"]),
        (r"/^m-\d{8}$/", ["m-20310131"], ["m-2031"]),
        (("m*", "*n"), ["mn", "mxn"], ["m", "n"]),
        ("M*", ["m1"], ["n"]),
    ],
)
def test_patterns(pattern: str | tuple[str, ...], matching: list[str], other: list[str]) -> None:
    """A star stands for any text; regular expressions stand between slashes; of a list all must match."""
    matches = matcher(pattern)

    assert [True] * len(matching) == [matches(name) for name in matching]
    assert [False] * len(other) == [matches(name) for name in other]


def test_the_first_entry_that_matches_is_found() -> None:
    """The order of entries decides, be they names or patterns."""
    index = NameIndex([["a*"], ["ab", "b"], ["b*"], ["bc"]], ["x", "y", "z", "*"])

    assert [0, 1, 2, 2, None, 1, 3] == [index.find(name) for name in ("ab", "b", "bc", "bd", "c", "y", "*")]
