"""The compiled price book and its source agree to the nano-USD, for every model and token class."""

from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import Any, Final

import pytest
from genai_prices.data import providers
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, Provider
from genai_prices.types import Usage as SourceUsage

from cli.price_books import compiled_book, encoded_book, read_book
from cli.price_source import source_document, source_version
from ledger.usage import Usage

TODAY: Final = date(2026, 11, 25)
NOON: Final = datetime(2026, 11, 25, 12, tzinfo=UTC)
NOON_MS: Final = int(NOON.timestamp() * 1000)
COMMITTED: Final = Path(__file__).parents[2] / "config" / "prices.json"
BOOK, REPORT = compiled_book(source_document, source_version(), None, TODAY)
MODELS: Final = {f"{provider.id}/{model.id}": (provider, model) for provider in providers for model in provider.models}

TWENTY: Final = [
    ("openai", "gpt-4o"),
    ("openai", "gpt-4o-mini"),
    ("openai", "gpt-5"),
    ("openai", "gpt-5-mini"),
    ("openai", "o3"),
    ("openai", "gpt-4o-audio-preview"),
    ("openai", "text-embedding-3-small"),
    ("anthropic", "claude-sonnet-4-0"),
    ("anthropic", "claude-opus-4-1"),
    ("anthropic", "claude-haiku-4-5"),
    ("google", "gemini-2.5-pro"),
    ("google", "gemini-2.5-flash"),
    ("google", "gemini-live-2.5-flash"),
    ("mistral", "mistral-large"),
    ("x-ai", "grok-4.3"),
    ("deepseek", "deepseek-chat"),
    ("perplexity", "sonar-deep-research"),
    ("perplexity", "sonar-pro"),
    ("groq", "llama-3.3-70b-versatile"),
    ("aws", "amazon.nova-pro-v1:0"),
]
USAGES: Final[list[dict[str, int]]] = [
    {"input_tokens": 1},
    {"input_tokens": 1234, "output_tokens": 567},
    {
        "input_tokens": 1_001,
        "output_tokens": 7_003,
        "cache_read_tokens": 503,
        "cache_write_tokens": 211,
        "cache_write_1h_tokens": 97,
        "reasoning_tokens": 1_009,
        "web_searches": 3,
    },
    {
        "input_tokens": 300_007,
        "output_tokens": 11,
        "cache_read_tokens": 300_043,
        "input_audio_tokens": 61,
        "input_image_tokens": 59,
        "output_audio_tokens": 3,
        "output_image_tokens": 2,
        "output_video_tokens": 1,
        "input_video_tokens": 17,
        "cache_audio_read_tokens": 53,
        "cache_image_read_tokens": 47,
    },
]
SAME_NAMES: Final = (
    *("output_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens", "web_searches"),
    *("output_audio_tokens", "output_image_tokens", "output_video_tokens", "input_video_tokens"),
    *("cache_audio_read_tokens", "cache_image_read_tokens"),
)


def source_nanos(provider: Provider, model: ModelInfo, tokens: dict[str, int], at: datetime) -> int:
    """Return the package's price of a usage, rounded up. Its input tokens include those of caches."""
    counts = {name: tokens.get(name, 0) for name in SAME_NAMES}
    counts["input_tokens"] = sum(tokens.get(f"{kind}_tokens", 0) for kind in ("input", "cache_read", "cache_write"))
    counts["output_reasoning_tokens"] = tokens.get("reasoning_tokens", 0)
    for kind in ("audio", "image"):
        counts[f"input_{kind}_tokens"] = tokens.get(f"input_{kind}_tokens", 0) + counts[f"cache_{kind}_read_tokens"]
    usd = model.calc_price(SourceUsage(**counts), provider, genai_request_timestamp=at).total_price
    return int((usd * 10**9).to_integral_value(ROUND_CEILING))


def without_output(tokens: dict[str, int]) -> dict[str, int]:
    """Return the usage of a model that answers no tokens: where it has no price here, the package's is nothing."""
    return {name: count for name, count in tokens.items() if not name.startswith(("output", "reasoning"))}


def our_nanos(provider: str, model: str, tokens: dict[str, Any], at_ms: int = NOON_MS) -> int | None:
    """Return the price of a usage by the compiled book."""
    priced = BOOK.price(Usage(provider=provider, model=model, **tokens), at_ms)
    return None if priced is None else priced.nanos


@pytest.mark.parametrize(("provider", "model"), TWENTY)
def test_twenty_models_cost_the_same_for_all_token_classes(provider: str, model: str) -> None:
    """Found by the name that callers send, priced with caches, reasoning, audio, searches and long prompts."""
    source_provider, source_model = get_snapshot().find_provider_model(model, None, provider, None)
    has_output = our_nanos(provider, model, {"output_tokens": 1}) is not None
    for tokens in USAGES:
        known = tokens if has_output else without_output(tokens)

        assert source_nanos(source_provider, source_model, known, NOON) == our_nanos(provider, model, known)


def test_every_model_costs_the_same() -> None:
    """All of them, found by their ids; those that have no price here are told, with the reason."""
    different = []
    for price in BOOK.models:
        found = BOOK.find(price.provider, price.model)
        assert found is not None
        provider, model = MODELS[found.model.name]
        for tokens in USAGES:
            known = tokens if "output_tokens" in found.model.schedule.rates else without_output(tokens)
            if source_nanos(provider, model, known, NOON) != our_nanos(provider.id, price.model, known):
                different.append((price.name, known))

    assert [] == different
    assert len(MODELS) == len(BOOK.models) + len(REPORT.left_out)


def test_prices_that_change_by_day_and_hour_cost_the_same() -> None:
    """Every hour of the day it is built for, and days for which other prices are announced."""
    moments = [datetime(2026, 11, 25, hour, 30, tzinfo=UTC) for hour in range(24)]
    moments += [datetime(2026, 12, 1, tzinfo=UTC) + timedelta(days=days) for days in (-1, 0, 30, 31, 400)]
    changing = [price for price in BOOK.models if price.changes]
    different = [
        (price.name, at)
        for price in changing
        for at in moments
        if source_nanos(*MODELS[price.name], USAGES[1], at)
        != our_nanos(price.provider or "", price.model, USAGES[1], int(at.timestamp() * 1000))
    ]

    assert len(changing) > 5
    assert [] == different


def test_names_that_the_package_knows_find_the_same_model() -> None:
    """Each id of each model, with its provider's name and without; we know more names, and never another model."""
    snapshot = get_snapshot()
    left_out = {id(MODELS[name][1]) for name in REPORT.left_out}
    different = []
    for provider, model in MODELS.values():
        for provider_id in (provider.id, None):
            try:
                _, meant = snapshot.find_provider_model(model.id, None, provider_id, None)
            except LookupError:
                continue
            found = BOOK.find(provider_id, model.id)
            known = None if found is None else MODELS[found.model.name][1]
            if known is not meant and not (known is None and id(meant) in left_out):
                different.append((provider_id, model.id))

    assert [] == different


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("openai/whisper-1", "is priced by audio_hours, input_audio_hours"),
        ("openai/tts-1", "is priced by input_mchars"),
        ("github-copilot/gpt-4o", "has no price stated"),
    ],
)
def test_what_no_usage_could_price_is_left_out(name: str, reason: str) -> None:
    """A model without a usable price is unpriced, which is seen; the package's own sum would be nothing."""
    assert reason == REPORT.left_out[name]
    assert BOOK.find(*name.split("/")) is None


def test_a_free_model_costs_nothing() -> None:
    """What says that it is free has a price: zero."""
    assert 0 == our_nanos("openrouter", "deepseek/deepseek-r1:free", {"input_tokens": 5, "output_tokens": 5})


def test_the_book_in_config_is_what_a_build_makes() -> None:
    """`make demo` prices real models without a download; a newer package asks for a new build."""
    committed = read_book(COMMITTED)
    assert committed.built_ms is not None
    day = datetime.fromtimestamp(committed.built_ms / 1000, UTC).date()
    built, _ = compiled_book(source_document, source_version(), None, day)

    assert built == committed, "run `spendgate prices build --output config/prices.json`"
    assert encoded_book(built) == COMMITTED.read_bytes()


def test_rates_are_exact() -> None:
    """A decimal of the source is the same decimal in the book."""
    for price in BOOK.models:
        source = MODELS[price.name][1].prices
        if not isinstance(source, list) and isinstance(source.input_mtok, Decimal):
            assert source.input_mtok * 10**18 == price.schedule.rates["input_tokens"]
