"""Prices for tests: one line each."""

from typing import Any

from ledger.price_parsing import parse_price_book
from ledger.prices import PriceBook
from ledger.usage import Usage

A_SONNET: dict[str, Any] = {
    "model": "m",
    "input_usd_per_million": 3,
    "output_usd_per_million": 15,
    "cache_read_usd_per_million": "0.3",
    "cache_write_usd_per_million": 3.75,
}


def price_of(**fields: Any) -> dict[str, Any]:
    """Return the document of a price for the model ``m``, with output free unless told otherwise."""
    return {"model": "m", "output_usd_per_million": 0, **fields}


def book_of(*prices: dict[str, Any]) -> PriceBook:
    """Return the book of some prices of one's own."""
    return parse_price_book(list(prices))


def cost_of(price: dict[str, Any], *, at_ms: int = 0, **tokens: int) -> int | None:
    """Return what tokens of the model ``m`` cost by one price."""
    priced = book_of(price).price(Usage(model="m", **tokens), at_ms)
    return None if priced is None else priced.nanos
