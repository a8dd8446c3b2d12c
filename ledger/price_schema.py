"""JSON Schema 2020-12 of prices and price books, with the bounds that `ledger.price_parsing` has."""

from typing import Final

from ledger.json_schema import MOMENT, USER_ID, Schema, closed, list_of, nullable, ref
from ledger.money import CAP_USD
from ledger.price_fields import MAX_PATTERNS, MAX_SERVED, MAX_VERSION_LENGTH
from ledger.price_parsing import MAX_CHANGES, MAX_PRICES, MAX_PROVIDERS, MAX_TIERS
from ledger.rates import RATE_DECIMALS, RATE_FIELDS
from ledger.usage import MAX_TOKENS

RATE_PATTERN: Final = rf"^([0-7]?[0-9]{{1,6}}(\.[0-9]{{1,{RATE_DECIMALS}}})?|8000000(\.0{{1,{RATE_DECIMALS}}})?)$"
VERSION: Final[Schema] = {**USER_ID, "maxLength": MAX_VERSION_LENGTH}
TOKENS: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": MAX_TOKENS}
DAY: Final[Schema] = {"type": "string", "format": "date", "description": "The day, in UTC, on which the price begins."}
TIME: Final[Schema] = {"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$", "description": "UTC."}


def price_schemas() -> dict[str, Schema]:
    """Return the schemas of all that `prices` may be."""
    schedule = {**_rates(required=True), "tiers": nullable(list_of(ref("PriceTier"), at_most=MAX_TIERS))}
    return {
        "Prices": {"anyOf": [list_of(ref("Price"), at_most=MAX_PRICES), ref("PriceBook")]},
        "PriceBook": _book(),
        "PriceProvider": _provider(),
        "Price": _price(schedule),
        "PriceTier": _tier(),
        "PriceChange": _change(schedule),
        "UsdRate": _rate(),
    }


def _book() -> Schema:
    prices = nullable(list_of(ref("Price"), at_most=MAX_PRICES))
    optional = {
        "source": nullable(VERSION),
        "built_at": nullable(MOMENT),
        "providers": nullable(list_of(ref("PriceProvider"), at_most=MAX_PROVIDERS)),
        "overrides": prices,
        "models": prices,
    }
    return closed({"version": VERSION, **optional}, optional=optional)


def _provider() -> Schema:
    patterns = nullable(_patterns())
    optional = {
        "names": patterns,
        "models": patterns,
        "serves": nullable(list_of(USER_ID, at_most=MAX_SERVED)),
    }
    return closed({"id": USER_ID, **optional}, optional=optional)


def _price(schedule: dict[str, Schema]) -> Schema:
    optional = {
        "provider": nullable(USER_ID),
        "names": nullable(_patterns()),
        "changes": nullable(list_of(ref("PriceChange"), at_most=MAX_CHANGES)),
        "context_tokens": nullable(TOKENS),
        "max_output_tokens": nullable(TOKENS),
    }
    return closed({"model": USER_ID, **optional, **schedule}, optional=[*optional, *_optional(schedule)])


def _tier() -> Schema:
    rates = _rates(required=False)
    return closed({"above_input_tokens": TOKENS, **rates}, optional=rates)


def _change(schedule: dict[str, Schema]) -> Schema:
    when = {"from": nullable(DAY), "daily_from": nullable(TIME), "daily_until": nullable(TIME)}
    return closed({**when, **schedule}, optional=[*when, *_optional(schedule)])


def _optional(schedule: dict[str, Schema]) -> list[str]:
    return [name for name in schedule if name not in {"input_usd_per_million", "output_usd_per_million"}]


def _rates(*, required: bool) -> dict[str, Schema]:
    rates = {name: nullable(ref("UsdRate")) for name in RATE_FIELDS.values()}
    return {**rates, "input_usd_per_million": ref("UsdRate")} if required else rates


def _rate() -> Schema:
    return {
        "description": f"USD, at most {RATE_DECIMALS} decimals; a number, or a decimal string.",
        "anyOf": [
            {"type": "number", "minimum": 0, "maximum": CAP_USD},
            {"type": "string", "pattern": RATE_PATTERN},
        ],
    }


def _patterns() -> Schema:
    one_or_all = {"anyOf": [USER_ID, {**list_of(USER_ID), "minItems": 1}]}
    return {
        "description": "Names, with * for any text; regular expressions between slashes; lists of what all must match.",
        **list_of(one_or_all, at_most=MAX_PATTERNS),
    }
