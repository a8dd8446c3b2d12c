"""Prices of requests: what a usage costs, what a call will cost that is not made yet, and what has no price."""

import logging
from typing import Final

from ledger.errors import InvalidInput
from ledger.money import CAP_NANOS
from ledger.prices import FoundPrice, Priced
from ledger.usage import Estimate, UnknownOutput, Usage
from sidecar.learned_outputs import LearnedOutputs
from sidecar.metrics import Metrics
from sidecar.rule_cache import RuleCache

ASSUMED_OUTPUT_TOKENS: Final = 131_072
"""The worst case of a model whose price tells neither its context window nor its longest output."""
MAX_NAMED_MODELS: Final = 1_000
"""So many unpriced models are named in the log, each once."""

log = logging.getLogger("spendgate.prices")


class Pricing:
    """Prices usages by the book in force; what was settled teaches it what calls usually answer."""

    def __init__(self, rules: RuleCache, learned: LearnedOutputs, metrics: Metrics) -> None:
        self.rules = rules
        self._learned = learned
        self._metrics = metrics
        self._named: set[tuple[str | None, str]] = set()

    def price(self, usage: Usage, tier: str | None, at_ms: int) -> Priced | None:
        """Return what a usage costs at a moment of the store's clock, an estimate if its output is not known yet.

        None if there is no price, which is counted, and logged once a model. Raises `InvalidInput` for a cost beyond
        the cap of amounts.
        """
        rules = self.rules.current
        if usage.unknown_output is None:
            priced = rules.prices.price(usage, at_ms)
        else:
            priced = self._estimate(usage, usage.unknown_output, tier, at_ms)
        if priced is None:
            self._tell_unpriced(usage)
        elif priced.nanos > CAP_NANOS:
            raise InvalidInput("usage costs more than the cap of 8,000,000 USD", field="usage")
        return priced

    def learn(self, usage: Usage, tier: str | None) -> None:
        """Learn from a call that was made; models without a price teach nothing."""
        found = self.rules.current.prices.find(usage.provider, usage.model)
        if found is not None and usage.unknown_output is None:
            self._learned.observe(found.model.name, tier, usage.output_tokens)

    def _estimate(self, usage: Usage, unknown: UnknownOutput, tier: str | None, at_ms: int) -> Priced | None:
        rules = self.rules.current
        found = rules.prices.find(usage.provider, usage.model)
        if found is None:
            return None
        most = most_output_tokens(found, usage, unknown, at_ms)
        kind = unknown.estimate or rules.workspace.estimate
        expected = self._learned.p95(found.model.name, tier) if kind is Estimate.P95 else None
        if expected is not None:
            nanos = found.cost_nanos(usage, min(expected, most), at_ms)
        elif kind is not Estimate.WORST_CASE and unknown.max_output_tokens is not None:
            nanos = found.cost_nanos(usage, most, at_ms)
        else:
            nanos = found.worst_nanos(usage, most, at_ms)
        return None if nanos is None else Priced(nanos, rules.prices.version)

    def _tell_unpriced(self, usage: Usage) -> None:
        self._metrics.record_unpriced()
        model = (usage.provider, usage.model)
        if model in self._named or len(self._named) >= MAX_NAMED_MODELS:
            return
        self._named.add(model)
        shown = usage.model if usage.provider is None else f"{usage.provider}/{usage.model}"
        log.warning("no price for model %r; the rules' on_unpriced decides about its calls (named once)", shown)


def most_output_tokens(found: FoundPrice, usage: Usage, unknown: UnknownOutput, at_ms: int) -> int:
    """Return the most tokens that a model may answer, as far as the caller or the price tell."""
    if found.row(usage, at_ms).output_rate is None:
        return 0
    model = found.model
    bounds = (unknown.max_output_tokens, model.max_output_tokens, model.context_tokens)
    return min((bound for bound in bounds if bound is not None), default=ASSUMED_OUTPUT_TOKENS)
