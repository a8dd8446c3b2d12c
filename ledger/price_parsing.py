"""The `prices` of a rule set's document: what a million tokens of a model cost, in USD."""

from typing import Final

from ledger.money import parse_usd, usd_text
from ledger.names import parse_name
from ledger.prices import NO_PRICES, Price, PriceBook
from ledger.sections import Faults, section_at

MAX_PRICES: Final = 100_000
PRICE_FIELDS: Final = frozenset(
    {
        "provider",
        "model",
        "input_usd_per_million",
        "output_usd_per_million",
        "cache_read_usd_per_million",
        "cache_write_usd_per_million",
    }
)


def parse_prices(value: object, faults: Faults) -> PriceBook:
    """Return the price book of a list of prices, an empty one for None; what is wrong is added to `faults`."""
    if value is None:
        return NO_PRICES
    if not isinstance(value, list) or len(value) > MAX_PRICES:
        faults.add("prices", f"must be a list of at most {MAX_PRICES} prices")
        return NO_PRICES
    prices: dict[tuple[str | None, str], Price] = {}
    places: dict[tuple[str | None, str], int] = {}
    for index, entry in enumerate(value):
        model, price = _parse_price(entry, f"prices[{index}]", faults)
        first = places.setdefault(model, index)
        if first != index and model[1]:
            faults.add(f"prices[{index}]", f"has the provider and model of prices[{first}]")
        prices[model] = price
    return PriceBook(prices)


def parse_price_book(value: object) -> PriceBook:
    """Return the price book of a list of prices alone. Raises `RuleSetInvalid` with every fault."""
    faults = Faults()
    book = parse_prices(value, faults)
    faults.raise_if_any()
    return book


def dump_prices(book: PriceBook) -> list[dict[str, object]]:
    """Return the list that `parse_prices` makes an equal price book of, amounts as decimal strings."""
    return [_dump_price(provider, model, price) for (provider, model), price in book.prices.items()]


def _dump_price(provider: str | None, model: str, price: Price) -> dict[str, object]:
    document: dict[str, object] = {} if provider is None else {"provider": provider}
    document["model"] = model
    document["input_usd_per_million"] = usd_text(price.input_nanos)
    document["output_usd_per_million"] = usd_text(price.output_nanos)
    document["cache_read_usd_per_million"] = usd_text(price.cache_read_nanos)
    document["cache_write_usd_per_million"] = usd_text(price.cache_write_nanos)
    return document


def _parse_price(value: object, path: str, faults: Faults) -> tuple[tuple[str | None, str], Price]:
    section = section_at(value, path=path, faults=faults, known=PRICE_FIELDS)
    provider: str | None = section.parse("provider", parse_name, None)
    model = section.require("model", parse_name, "")
    input_nanos = section.require("input_usd_per_million", parse_usd, 0)
    price = Price(
        input_nanos=input_nanos,
        output_nanos=section.require("output_usd_per_million", parse_usd, 0),
        cache_read_nanos=section.parse("cache_read_usd_per_million", parse_usd, input_nanos),
        cache_write_nanos=section.parse("cache_write_usd_per_million", parse_usd, input_nanos),
    )
    return (provider, model), price
