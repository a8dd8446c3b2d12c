"""Pricing of requests: known usages, estimates of calls that are not made yet, and usages without a price."""

import logging
from typing import Any

import pytest

from ledger.errors import InvalidInput
from ledger.price_parsing import parse_price_book
from ledger.prices import Priced
from ledger.rules import RuleSet, Workspace
from ledger.usage import Estimate, UnknownOutput, Usage
from sidecar.learned_outputs import MIN_CALLS, LearnedOutputs
from sidecar.metrics import Metrics
from sidecar.pricing import ASSUMED_OUTPUT_TOKENS, MAX_NAMED_MODELS, Pricing
from sidecar.rule_cache import RuleCache
from tests.support.prices import price_of

BOOK = {
    "version": "v7",
    "models": [
        price_of(
            input_usd_per_million=1,
            output_usd_per_million=10,
            cache_write_usd_per_million=2,
            reasoning_usd_per_million=20,
            context_tokens=1000,
        ),
        price_of(model="short", input_usd_per_million=1, output_usd_per_million=10, max_output_tokens=50)
        | {"context_tokens": 1000},
        price_of(model="unbounded", input_usd_per_million=1, output_usd_per_million=10),
        price_of(model="embed", input_usd_per_million=1, output_usd_per_million=None),
        price_of(model="dear", input_usd_per_million=8_000_000, output_usd_per_million=1),
    ],
}


class Desk:
    """Pricing over a book, with what it has learned."""

    def __init__(self, estimate: Estimate = Estimate.MAX_TOKENS) -> None:
        rules = RuleSet.of(revision=1, workspace=Workspace(estimate=estimate), rules=(), prices=parse_price_book(BOOK))
        self.learned = LearnedOutputs()
        self.metrics = Metrics()
        self.pricing = Pricing(RuleCache(current=rules), self.learned, self.metrics)

    def nanos(self, model: str = "m", most: int | None = None, estimate: Estimate | None = None) -> int | None:
        """Return the estimate for a call with ten input tokens."""
        unknown = UnknownOutput(max_output_tokens=most, estimate=estimate)
        priced = self.pricing.price(Usage(model=model, input_tokens=10, unknown_output=unknown), "pro", 0)
        return None if priced is None else priced.nanos

    def teach(self, output_tokens: int, calls: int = MIN_CALLS, **fields: Any) -> None:
        """Let calls be made."""
        for _ in range(calls):
            self.pricing.learn(Usage(model="m", output_tokens=output_tokens, **fields), "pro")


def test_a_known_usage_has_its_price_and_the_version_of_the_book() -> None:
    """What was used is not estimated."""
    assert Priced(110_000, "v7") == Desk().pricing.price(Usage(model="m", input_tokens=10, output_tokens=10), None, 0)


@pytest.mark.parametrize(
    ("model", "most", "estimate", "nanos"),
    [
        ("m", 100, Estimate.MAX_TOKENS, 10_000 + 1_000_000),
        ("m", 5000, Estimate.MAX_TOKENS, 10_000 + 10_000_000),
        ("m", None, Estimate.MAX_TOKENS, 20_000 + 20_000_000),
        ("m", 100, Estimate.WORST_CASE, 20_000 + 2_000_000),
        ("m", None, Estimate.WORST_CASE, 20_000 + 20_000_000),
        ("short", None, Estimate.WORST_CASE, 10_000 + 500_000),
        ("short", 100, Estimate.MAX_TOKENS, 10_000 + 500_000),
        ("unbounded", None, Estimate.WORST_CASE, 10_000 + ASSUMED_OUTPUT_TOKENS * 10_000),
        ("m", 100, Estimate.P95, 10_000 + 1_000_000),
        ("m", None, Estimate.P95, 20_000 + 20_000_000),
        ("embed", None, Estimate.WORST_CASE, 10_000),
        ("embed", 100, Estimate.MAX_TOKENS, 10_000),
    ],
)
def test_an_estimate_has_its_bound(model: str, most: int | None, estimate: Estimate, nanos: int) -> None:
    """The tokens asked for at the usual rates; the model's bound at the dearest rates where none are asked for."""
    assert nanos == Desk().nanos(model, most, estimate)


def test_the_workspace_chooses_the_estimate_that_a_caller_does_not() -> None:
    """A caller's own choice goes before the workspace's."""
    desk = Desk(Estimate.WORST_CASE)

    assert 20_000 + 2_000_000 == desk.nanos(most=100)
    assert 10_000 + 1_000_000 == desk.nanos(most=100, estimate=Estimate.MAX_TOKENS)


def test_the_learned_estimate_is_what_95_of_100_calls_stayed_within() -> None:
    """Outputs of 10 tokens with a few of 15: the estimate covers all but one of twenty."""
    desk = Desk(Estimate.P95)
    desk.teach(10, calls=95)
    desk.teach(15, calls=5)
    assert 10_000 + 10 * 10_000 == desk.nanos()

    desk.teach(15, calls=1)
    assert 10_000 + 15 * 10_000 == desk.nanos()


def test_the_learned_estimate_is_never_more_than_is_asked_for() -> None:
    """A caller who asks for few tokens is not held for many."""
    desk = Desk(Estimate.P95)
    desk.teach(500)

    assert 10_000 + 7 * 10_000 == desk.nanos(most=7)


def test_estimates_teach_nothing() -> None:
    """A guess is no observation, and neither is a model without a price."""
    desk = Desk(Estimate.P95)
    desk.teach(0, unknown_output=UnknownOutput())
    for _ in range(MIN_CALLS):
        desk.pricing.learn(Usage(model="stranger", output_tokens=1), "pro")

    assert [] == desk.learned.dump()


def test_a_model_without_a_price_is_counted_and_named_once(caplog: pytest.LogCaptureFixture) -> None:
    """The log names a model once, the metric counts every usage; none costs nothing in silence."""
    desk = Desk()
    with caplog.at_level(logging.WARNING):
        for usage in [Usage(model="stranger"), Usage(model="stranger", provider="p"), Usage(model="stranger")]:
            assert desk.pricing.price(usage, None, 0) is None
    assert desk.nanos("stranger", 5) is None

    assert b"spendgate_unpriced_calls_total 4.0" in desk.metrics.render()
    assert ["'stranger'", "'p/stranger'"] == [record.message.split()[4].rstrip(";") for record in caplog.records]


def test_names_in_the_log_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """Callers who make names up cannot fill a disk."""
    desk = Desk()
    with caplog.at_level(logging.WARNING):
        for number in range(MAX_NAMED_MODELS + 5):
            desk.pricing.price(Usage(model=f"stranger-{number}"), None, 0)

    assert MAX_NAMED_MODELS == len(caplog.records)


def test_a_cost_beyond_the_cap_is_refused() -> None:
    """No amount is beyond 8,000,000 USD, an estimate included."""
    with pytest.raises(InvalidInput, match="cap"):
        Desk().pricing.price(Usage(model="dear", input_tokens=2_000_000), None, 0)
