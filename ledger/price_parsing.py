"""Price books from decoded YAML or JSON, and back: a rule set's `prices`, a compiled book, an operator's overrides.

A list has prices of one's own. A mapping has a source's prices (`models`), what is known of its `providers`, and
`overrides`, which go before them. docs/prices.md has the fields.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ledger.model_names import Provider
from ledger.moments import parse_moment
from ledger.names import parse_name
from ledger.price_fields import (
    day_text,
    dump_patterns,
    parse_day,
    parse_patterns,
    parse_provider_names,
    parse_rate,
    parse_time,
    parse_token_count,
    parse_unit_rate,
    parse_version,
    rate_text,
    time_text,
)
from ledger.prices import NO_PRICES, ModelPrice, PriceBook, PriceChange
from ledger.rates import RATE_FIELDS, TOKEN_RATES, Rates, Schedule, Tier
from ledger.sections import Faults, Section, section_at
from ledger.usage import PARTS
from ledger.windows import rfc3339

MAX_PRICES: Final = 100_000
MAX_PROVIDERS: Final = 1_000
MAX_TIERS: Final = 10
MAX_CHANGES: Final = 100
DIGEST_LENGTH: Final = 7
OWN_PRICES: Final = "own prices "
"""Begins the version of a list of prices, which has no other than what follows from them."""

BOOK_FIELDS: Final = frozenset({"version", "source", "built_at", "providers", "models", "overrides"})
PROVIDER_FIELDS: Final = frozenset({"id", "names", "models", "serves"})
RATE_NAMES: Final = frozenset(RATE_FIELDS.values())
SCHEDULE_FIELDS: Final = RATE_NAMES | {"tiers"}
TIER_FIELDS: Final = RATE_NAMES | {"above_input_tokens"}
CHANGE_FIELDS: Final = SCHEDULE_FIELDS | {"from", "daily_from", "daily_until"}
PRICE_FIELDS: Final = SCHEDULE_FIELDS | {
    "provider",
    "model",
    "names",
    "changes",
    "context_tokens",
    "max_output_tokens",
}


def parse_prices(value: object, faults: Faults) -> PriceBook:
    """Return the price book of a document, an empty one for None; what is wrong is added to `faults`."""
    if value is None or value == []:
        return NO_PRICES
    if isinstance(value, list):
        own = _PriceReader(faults).read_all(value, "prices")
        return PriceBook(version=OWN_PRICES + digest(own), models=own)
    if not isinstance(value, dict):
        faults.add("prices", f"must be a list of at most {MAX_PRICES} prices, or a price book")
        return NO_PRICES
    return _parse_book(section_at(value, path="prices", faults=faults, known=BOOK_FIELDS), faults)


def parse_price_book(value: object) -> PriceBook:
    """Return the price book of a document alone. Raises `RuleSetInvalid` with every fault."""
    faults = Faults()
    book = parse_prices(value, faults)
    faults.raise_if_any()
    return book


def parse_overrides(value: object) -> tuple[ModelPrice, ...]:
    """Return an operator's overrides, a list of prices. Raises `RuleSetInvalid` with every fault."""
    faults = Faults()
    overrides = _PriceReader(faults).read_all([] if value is None else value, "overrides")
    faults.raise_if_any()
    return overrides


def dump_prices(book: PriceBook) -> object:
    """Return the document that `parse_prices` makes an equal price book of, amounts as decimal strings."""
    is_own = book.version.startswith(OWN_PRICES) and not (book.source or book.providers or book.overrides)
    if is_own or not book.version:
        return [dump_price(price) for price in book.models]
    document: dict[str, object] = {"version": book.version}
    if book.source:
        document["source"] = book.source
    if book.built_ms is not None:
        document["built_at"] = rfc3339(book.built_ms)
    document["providers"] = [_dump_provider(provider) for provider in book.providers]
    document["overrides"] = [dump_price(price) for price in book.overrides]
    document["models"] = [dump_price(price) for price in book.models]
    return document


def dump_price(price: ModelPrice) -> dict[str, object]:
    """Return the document of one price."""
    document: dict[str, object] = {} if price.provider is None else {"provider": price.provider}
    document["model"] = price.model
    if price.names:
        document["names"] = dump_patterns(price.names)
    document |= _dump_schedule(price.schedule)
    if price.changes:
        document["changes"] = [_dump_change(change) for change in price.changes]
    for name in ("context_tokens", "max_output_tokens"):
        if getattr(price, name) is not None:
            document[name] = getattr(price, name)
    return document


def digest(prices: tuple[ModelPrice, ...], names: str = "") -> str:
    """Return a few characters that tell prices, and names beside them, apart."""
    text = json.dumps([dump_price(price) for price in prices], sort_keys=True) + names
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]


def _parse_book(section: Section, faults: Faults) -> PriceBook:
    overrides = _PriceReader(faults).read_all(section.get("overrides") or [], "prices.overrides")
    models = _PriceReader(faults).read_all(section.get("models") or [], "prices.models")
    version = section.require("version", parse_version, "")
    return PriceBook(
        version=version,
        source=section.parse("source", parse_version, ""),
        built_ms=section.parse("built_at", parse_moment, None),
        providers=_parse_providers(section.get("providers"), faults),
        models=models,
        overrides=overrides,
    )


def _parse_providers(value: object, faults: Faults) -> tuple[Provider, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MAX_PROVIDERS:
        faults.add("prices.providers", f"must be a list of at most {MAX_PROVIDERS} providers")
        return ()
    return tuple(_parse_provider(entry, f"prices.providers[{index}]", faults) for index, entry in enumerate(value))


def _parse_provider(value: object, path: str, faults: Faults) -> Provider:
    section = section_at(value, path=path, faults=faults, known=PROVIDER_FIELDS)
    return Provider(
        id=section.require("id", parse_name, ""),
        names=section.parse("names", parse_patterns, ()),
        models=section.parse("models", parse_patterns, ()),
        serves=section.parse("serves", parse_provider_names, ()),
    )


def _dump_provider(provider: Provider) -> dict[str, object]:
    document: dict[str, object] = {"id": provider.id}
    if provider.names:
        document["names"] = dump_patterns(provider.names)
    if provider.models:
        document["models"] = dump_patterns(provider.models)
    if provider.serves:
        document["serves"] = list(provider.serves)
    return document


@dataclass(slots=True)
class _PriceReader:
    """Reads the prices of one list and remembers what must be unique: provider and model."""

    faults: Faults
    places: dict[tuple[str | None, str], str] = field(default_factory=dict)

    def read_all(self, values: object, path: str) -> tuple[ModelPrice, ...]:
        if not isinstance(values, list) or len(values) > MAX_PRICES:
            self.faults.add(path, f"must be a list of at most {MAX_PRICES} prices")
            return ()
        return tuple(self._read(value, f"{path}[{index}]") for index, value in enumerate(values))

    def _read(self, value: object, path: str) -> ModelPrice:
        section = section_at(value, path=path, faults=self.faults, known=PRICE_FIELDS)
        price = ModelPrice(
            provider=section.parse("provider", parse_name, None),
            model=section.require("model", parse_name, ""),
            names=section.parse("names", parse_patterns, ()),
            schedule=_parse_schedule(section, path, self.faults),
            changes=_parse_changes(section.get("changes"), f"{path}.changes", self.faults),
            context_tokens=section.parse("context_tokens", parse_token_count, None),
            max_output_tokens=section.parse("max_output_tokens", parse_token_count, None),
        )
        place = (None if price.provider is None else price.provider.lower(), price.model.lower())
        first = self.places.setdefault(place, path)
        if first != path and price.model:
            self.faults.add(path, f"has the provider and model of {first}")
        return price


def _parse_schedule(section: Section, path: str, faults: Faults) -> Schedule:
    """Return the rates of a section and of its tiers. Input and output must be stated; a null output says none."""
    rates = _parse_rates(section)
    if section.get("input_usd_per_million") is None:
        section.fault("input_usd_per_million", "is required")
    if not section.has("output_usd_per_million"):
        section.fault("output_usd_per_million", "is required; null for a model without output")
    for name in rates:
        if PARTS.get(name) == "output_tokens" and "output_tokens" not in rates:
            section.fault(RATE_FIELDS[name], "needs output_usd_per_million beside it")
    return Schedule(rates, _parse_tiers(section.get("tiers"), f"{path}.tiers", faults))


def _parse_rates(section: Section) -> Rates:
    rates: dict[str, int] = {}
    for name, document_name in RATE_FIELDS.items():
        if section.get(document_name) is not None:
            parse = parse_rate if name in TOKEN_RATES else parse_unit_rate
            rates[name] = section.parse(document_name, parse, 0)
    return rates


def _parse_tiers(value: object, path: str, faults: Faults) -> tuple[Tier, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MAX_TIERS:
        faults.add(path, f"must be a list of at most {MAX_TIERS} tiers")
        return ()
    tiers: list[Tier] = []
    for index, entry in enumerate(value):
        section = section_at(entry, path=f"{path}[{index}]", faults=faults, known=TIER_FIELDS)
        above = section.require("above_input_tokens", parse_token_count, 0)
        if tiers and above <= tiers[-1].above_input_tokens:
            section.fault("above_input_tokens", "must be larger than that of the tier before")
        tiers.append(Tier(above, _parse_rates(section)))
    return tuple(tiers)


def _parse_changes(value: object, path: str, faults: Faults) -> tuple[PriceChange, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MAX_CHANGES:
        faults.add(path, f"must be a list of at most {MAX_CHANGES} changes")
        return ()
    return tuple(_parse_change(entry, f"{path}[{index}]", faults) for index, entry in enumerate(value))


def _parse_change(value: object, path: str, faults: Faults) -> PriceChange:
    section = section_at(value, path=path, faults=faults, known=CHANGE_FIELDS)
    change = PriceChange(
        schedule=_parse_schedule(section, path, faults),
        from_ms=section.parse("from", parse_day, None),
        daily_from_s=section.parse("daily_from", parse_time, None),
        daily_until_s=section.parse("daily_until", parse_time, None),
    )
    if (section.get("daily_from") is None) != (section.get("daily_until") is None):
        section.fault("", "has daily_from and daily_until together, or neither")
    elif section.get("from") is None and section.get("daily_from") is None:
        section.fault("", "needs from, or daily_from and daily_until: when it holds")
    return change


def _dump_change(change: PriceChange) -> dict[str, object]:
    document: dict[str, object] = {}
    if change.from_ms is not None:
        document["from"] = day_text(change.from_ms)
    if change.daily_from_s is not None and change.daily_until_s is not None:
        document["daily_from"] = time_text(change.daily_from_s)
        document["daily_until"] = time_text(change.daily_until_s)
    return document | _dump_schedule(change.schedule)


def _dump_schedule(schedule: Schedule) -> dict[str, object]:
    document = _dump_rates(schedule.rates)
    document.setdefault("output_usd_per_million", None)
    if schedule.tiers:
        document["tiers"] = [
            {"above_input_tokens": tier.above_input_tokens, **_dump_rates(tier.rates)} for tier in schedule.tiers
        ]
    return document


def _dump_rates(rates: Mapping[str, int]) -> dict[str, object]:
    return {RATE_FIELDS[name]: rate_text(name, rate) for name, rate in rates.items()}
