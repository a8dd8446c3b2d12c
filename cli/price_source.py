"""The prices of the package genai-prices, as the document of a price book. Nothing is downloaded: the package has them.

Its model of a price is richer than ours where usage of ours could not say what is priced (hours, pages, characters).
Such a model is left out with the reason: without a price it is unpriced, which is seen; a price of nothing is not.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from importlib.metadata import version
from typing import Any, Final

PACKAGE: Final = "genai-prices"
FREE_SUFFIX: Final = ":free"
A_THOUSAND: Final = 1000

RATES: Final[Mapping[str, str]] = {
    "input_mtok": "input_usd_per_million",
    "output_mtok": "output_usd_per_million",
    "cache_read_mtok": "cache_read_usd_per_million",
    "cache_write_mtok": "cache_write_usd_per_million",
    "cache_write_1h_mtok": "cache_write_1h_usd_per_million",
    "output_reasoning_mtok": "reasoning_usd_per_million",
    "input_audio_mtok": "input_audio_usd_per_million",
    "input_image_mtok": "input_image_usd_per_million",
    "input_video_mtok": "input_video_usd_per_million",
    "output_audio_mtok": "output_audio_usd_per_million",
    "output_image_mtok": "output_image_usd_per_million",
    "output_video_mtok": "output_video_usd_per_million",
    "cache_audio_read_mtok": "cache_audio_read_usd_per_million",
    "cache_image_read_mtok": "cache_image_read_usd_per_million",
}
PER_THOUSAND: Final[Mapping[str, str]] = {"requests_kcount": "request_usd", "web_searches_kcount": "web_search_usd"}
INPUT: Final = "input_mtok"

Fields = dict[str, Any]


@dataclass(slots=True)
class SourceReport:
    """What was left out, and why: models by their name, and rates of models that stay."""

    left_out: dict[str, str] = field(default_factory=dict)
    ignored_rates: dict[str, int] = field(default_factory=dict)


class Unpriceable(ValueError):
    """No usage of ours says what this model's price is for."""


def source_version() -> str:
    """Return the package with its version. Raises `ModuleNotFoundError` if it is not installed."""
    return f"{PACKAGE} {version(PACKAGE)}"


def source_document(today: date) -> tuple[Fields, SourceReport]:
    """Return providers and models as a price book has them, and what was left out. Raises `ModuleNotFoundError`.

    Of prices that follow each other those in force before `today` are left out.
    """
    from genai_prices.data import providers  # noqa: PLC0415 - an extra, half a second to import

    report = SourceReport()
    models = [entry for provider in providers for entry in _models(provider, today, report)]
    return {"providers": [_provider(provider) for provider in providers], "models": models}, report


def _provider(provider: Any) -> Fields:
    document: Fields = {"id": provider.id}
    if provider.provider_match is not None:
        document["names"] = _patterns(provider.provider_match)
    if provider.model_match is not None:
        document["models"] = _patterns(provider.model_match)
    if provider.fallback_model_providers:
        document["serves"] = list(provider.fallback_model_providers)
    return document


def _models(provider: Any, today: date, report: SourceReport) -> Iterator[Fields]:
    for model in provider.models:
        try:
            prices = _prices(model, today, report)
        except Unpriceable as error:
            report.left_out[f"{provider.id}/{model.id}"] = str(error)
            continue
        document = {"provider": provider.id, "model": model.id}
        names = [pattern for pattern in _patterns(model.match) if pattern != model.id]
        if names:
            document["names"] = names
        if model.context_window:
            prices["context_tokens"] = model.context_window
        yield document | prices


def _prices(model: Any, today: date, report: SourceReport) -> Fields:
    """Return the price in force today, and what follows. The last one that holds counts, so earlier ones are gone."""
    if not isinstance(model.prices, list):
        return _schedule(model.id, model.prices, report)
    first = max((index for index, price in enumerate(model.prices) if _is_begun(price.constraint, today)), default=0)
    document = _schedule(model.id, model.prices[first].prices, report)
    changes = [
        _when(price.constraint) | _schedule(model.id, price.prices, report) for price in model.prices[first + 1 :]
    ]
    return document | {"changes": changes} if changes else document


def _is_begun(constraint: Any, today: date) -> bool:
    return constraint is None or (hasattr(constraint, "start_date") and constraint.start_date <= today)


def _when(constraint: Any) -> Fields:
    if hasattr(constraint, "start_date"):
        return {"from": constraint.start_date.isoformat()}
    start, end = constraint.start_time, constraint.end_time
    for moment in (start, end):
        if moment.second or moment.microsecond or moment.utcoffset():
            raise Unpriceable(f"has a price from {moment}, which is no UTC minute")
    return {"daily_from": start.strftime("%H:%M"), "daily_until": end.strftime("%H:%M")}


def _schedule(model_id: str, prices: Any, report: SourceReport) -> Fields:
    stated = {name: price for name, price in vars(prices).items() if price is not None}
    if not stated and model_id.endswith(FREE_SUFFIX):
        return {"input_usd_per_million": "0", "output_usd_per_million": "0"}
    if INPUT not in stated:
        raise Unpriceable(f"is priced by {', '.join(stated)}" if stated else "has no price stated")
    base: Fields = {"output_usd_per_million": None}
    tiers: dict[int, Fields] = {}
    for name, price in stated.items():
        if name in RATES:
            base[RATES[name]] = _text(getattr(price, "base", price))
            for tier in getattr(price, "tiers", ()):
                tiers.setdefault(tier.start, {})[RATES[name]] = _text(tier.price)
        elif name in PER_THOUSAND:
            base[PER_THOUSAND[name]] = _text(price / A_THOUSAND)
        else:
            report.ignored_rates[name] = report.ignored_rates.get(name, 0) + 1
    if tiers:
        base["tiers"] = [{"above_input_tokens": start, **tiers[start]} for start in sorted(tiers)]
    return base


def _text(price: Decimal) -> str:
    """Return plain decimals: no exponent, no zeros that say nothing."""
    text = f"{price:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _patterns(clause: Any) -> list[Any]:
    """Return the patterns of a clause, of which one must match."""
    parts = getattr(clause, "or_", None)
    if parts is not None:
        return [pattern for part in parts for pattern in _patterns(part)]
    parts = getattr(clause, "and_", None)
    return [list(_simple(parts))] if parts is not None else list(_simple([clause]))


def _simple(clauses: Iterable[Any]) -> Iterator[str]:
    for clause in clauses:
        match vars(clause):
            case {"equals": str(text)}:
                yield text
            case {"starts_with": str(text)}:
                yield f"{text}*"
            case {"ends_with": str(text)}:
                yield f"*{text}"
            case {"contains": str(text)}:
                yield f"*{text}*"
            case {"regex": str(text)}:
                yield f"/{text}/"
            case other:
                raise ValueError(f"{PACKAGE} has a clause of an unknown kind: {sorted(other)}")
