"""Price books of the command line: overrides over a source, and every fault of them with its path."""

import json
from datetime import date
from typing import Any

import pytest

from cli.price_books import compiled_book, encoded_book
from cli.price_source import Fields, SourceReport
from ledger.errors import RuleSetInvalid
from ledger.price_parsing import parse_price_book
from ledger.prices import PriceBook
from ledger.usage import Usage
from tests.support.prices import price_of

DAY = date(2031, 1, 31)


def source(today: date) -> tuple[Fields, SourceReport]:
    """Return a source with one model."""
    models = [{"provider": "p", **price_of(input_usd_per_million=1)}]
    return {"providers": [{"id": "p", "names": ["*p*"]}], "models": models}, SourceReport()


def built(overrides: object = None) -> PriceBook:
    """Return the book of the source under overrides."""
    return compiled_book(source, "source 1.0", overrides, DAY)[0]


def nanos(book: PriceBook, provider: str | None, model: str = "m") -> int | None:
    """Return what a million input tokens cost."""
    priced = book.price(Usage(provider=provider, model=model, input_tokens=1_000_000), 0)
    return None if priced is None else priced.nanos


def test_a_build_tells_source_date_and_version() -> None:
    """Who looks at a charge finds what priced it."""
    book = built()

    assert ("source 1.0 2031-01-31", "source 1.0") == (book.version, book.source)
    assert 1_927_584_000_000 == book.built_ms
    assert 1_000_000_000 == nanos(book, "p")


@pytest.mark.parametrize("shape", ["list", "mapping"])
def test_overrides_go_before_the_source_and_into_the_version(shape: str) -> None:
    """What was negotiated counts, and the version tells it from the list price."""
    prices = [
        {"provider": "p", **price_of(input_usd_per_million="0.5")},
        price_of(model="own", input_usd_per_million=0),
    ]
    book = built(prices if shape == "list" else {"overrides": prices})

    assert [500_000_000, 0, None] == [nanos(book, "p"), nanos(book, None, "own"), nanos(book, None, "stranger")]
    assert book.version.startswith("source 1.0 2031-01-31 + overrides ")
    assert book.version != built([prices[0]]).version
    assert book.version == built([{**prices[0], "input_usd_per_million": "0.50"}, prices[1]]).version


def test_providers_may_have_names_of_ones_own() -> None:
    """A gateway's name can be told to mean a provider, or a new one that serves what another has."""
    providers = [{"id": "P", "names": ["gateway"]}, {"id": "mirror", "serves": ["p"]}]
    book = built({"providers": providers})

    assert [1_000_000_000] * 3 == [nanos(book, name) for name in ("gateway", "mirror", "my-p")]
    assert [None, None] == [nanos(built(), name) for name in ("gateway", "mirror")]
    assert " + overrides " in book.version


def test_no_overrides_leave_the_version_alone() -> None:
    """An empty file changes nothing."""
    assert [built()] * 3 == [built([]), built({}), built({"overrides": None})]


@pytest.mark.parametrize(
    ("overrides", "faults"),
    [
        ([{"model": "m"}], ["overrides[0].input_usd_per_million", "overrides[0].output_usd_per_million"]),
        ({"overrides": [price_of(input_usd_per_million=-1)]}, ["overrides[0].input_usd_per_million"]),
        ({"providers": [{"names": ["a"]}]}, ["providers[0].id"]),
        ({"override": []}, ["override"]),
        ("none", ["document"]),
    ],
)
def test_every_fault_of_overrides_has_its_path(overrides: Any, faults: list[str]) -> None:
    """An operator finds the line that is wrong."""
    with pytest.raises(RuleSetInvalid) as caught:
        built(overrides)

    assert faults == [path for path, _ in caught.value.faults]


def test_a_written_book_reads_back_the_same() -> None:
    """One price a line, so that two builds can be compared."""
    book = built([price_of(input_usd_per_million=2)])
    text = encoded_book(book)

    assert book == parse_price_book(json.loads(text))
    assert 1 == sum(line.startswith(b'{"provider":"p","model":"m"') for line in text.splitlines())
