"""What costs more within a whole: the SDK reads it from the provider's account, sends it, and the sidecar prices it."""

import pytest
from spendgate import Usage
from spendgate.providers.usages import anthropic_usage, openai_usage
from spendgate.usage import COUNTS

from ledger.price_parsing import parse_price_book
from ledger.prices import PriceBook
from sidecar.api.decode_usage import decode_usage
from tests.support.prices import price_of

BOOK = parse_price_book(
    [
        price_of(
            input_usd_per_million=1,
            output_usd_per_million=10,
            cache_write_usd_per_million=2,
            cache_write_1h_usd_per_million=4,
            input_audio_usd_per_million=5,
            output_audio_usd_per_million=50,
            web_search_usd="0.01",
        )
    ]
)


def _nanos(usage: Usage | None, book: PriceBook = BOOK) -> int:
    assert usage is not None
    priced = book.price(decode_usage(usage.as_fields(actual=True)), 0)
    assert priced is not None
    return priced.nanos


def test_an_hour_of_cache_and_searches_of_anthropic_are_paid() -> None:
    """Writing to the cache for an hour costs more than for five minutes, and each search its own fee."""
    reported = {
        "input_tokens": 10,
        "output_tokens": 1,
        "cache_creation_input_tokens": 100,
        "cache_creation": {"ephemeral_5m_input_tokens": 40, "ephemeral_1h_input_tokens": 60},
        "server_tool_use": {"web_search_requests": 2},
    }
    assert 10_000 + 10_000 + 40 * 2_000 + 60 * 4_000 + 20_000_000 == _nanos(anthropic_usage("m", None, reported))


def test_audio_of_openai_is_paid() -> None:
    """Audio is counted in the prompt and the completion, and costs more than text."""
    reported = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "prompt_tokens_details": {"audio_tokens": 30, "cached_tokens": 20},
        "completion_tokens_details": {"audio_tokens": 40},
    }
    text = 50 * 1_000 + 20 * 1_000 + 10 * 10_000
    assert text + 30 * 5_000 + 40 * 50_000 == _nanos(openai_usage("m", None, reported))


@pytest.mark.parametrize("reported", [{}, {"cache_creation": None, "server_tool_use": None}, {"cache_creation": 7}])
def test_an_account_without_parts_has_none(reported: dict[str, object]) -> None:
    """Older providers and compatible servers tell none of them."""
    usage = anthropic_usage("m", None, {"input_tokens": 1, "output_tokens": 1, **reported})

    assert usage is not None
    assert {"model": "m", "input_tokens": 1, "output_tokens": 1} == usage.as_fields(actual=True)


@pytest.mark.parametrize("name", COUNTS)
def test_the_sidecar_knows_every_count(name: str) -> None:
    """What the SDK sends is read under the same name."""
    usage = decode_usage(Usage("m", output_tokens=9, **{name: 3}).as_fields(actual=True))

    assert 3 == getattr(usage, name)
