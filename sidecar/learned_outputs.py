"""What a call of a model and tier usually answers: output tokens seen lately, as small histograms that fade.

Bounded in every direction: so many pairs of model and tier, a few dozen buckets each, and counts that are halved before
they grow old. A bucket is named by its largest value, at most an eighth above its smallest, so that a percentile is
never told too low.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

MAX_PAIRS: Final = 2_000
MAX_WEIGHT: Final = 1_000
"""With so many calls seen all counts are halved: what was seen before the last 1,000 calls hardly counts."""
MIN_CALLS: Final = 20
"""Fewer calls say nothing about the 95th of a hundred."""
PERCENTILE: Final = 95
PERCENT: Final = 100
EXACT_BITS: Final = 4

Pair = tuple[str, str | None]


@dataclass(slots=True)
class OutputHistogram:
    """How many calls answered with at most so many tokens, by the bucket's largest value."""

    counts: dict[int, int] = field(default_factory=dict)
    weight: int = 0
    _p95: int | None = None

    def add(self, output_tokens: int) -> None:
        """Count a call."""
        edge = bucket_edge(output_tokens)
        self.counts[edge] = self.counts.get(edge, 0) + 1
        self.weight += 1
        self._p95 = None
        if self.weight >= MAX_WEIGHT:
            self.counts = {edge: count // 2 for edge, count in self.counts.items() if count > 1}
            self.weight = sum(self.counts.values())

    def p95(self) -> int | None:
        """Return what 95 of 100 calls stayed within, None after too few calls."""
        if self.weight < MIN_CALLS:
            return None
        if self._p95 is None:
            self._p95 = self._percentile()
        return self._p95

    def _percentile(self) -> int:
        seen = 0
        for edge in sorted(self.counts):
            seen += self.counts[edge]
            if seen * PERCENT >= self.weight * PERCENTILE:
                return edge
        raise AssertionError("a histogram's weight is the sum of its counts")


class LearnedOutputs:
    """Histograms by model and tier; the pairs that were not seen for the longest give way to new ones."""

    def __init__(self) -> None:
        self._pairs: dict[Pair, OutputHistogram] = {}
        self.changes = 0

    def observe(self, model: str, tier: str | None, output_tokens: int) -> None:
        """Learn from a call that was made."""
        pair = (model, tier)
        histogram = self._pairs.pop(pair, None) or OutputHistogram()
        if len(self._pairs) >= MAX_PAIRS:
            del self._pairs[next(iter(self._pairs))]
        self._pairs[pair] = histogram
        histogram.add(output_tokens)
        self.changes += 1

    def p95(self, model: str, tier: str | None) -> int | None:
        """Return what 95 of 100 recent calls of this model and tier stayed within; None if too few were seen."""
        histogram = self._pairs.get((model, tier))
        return None if histogram is None else histogram.p95()

    def dump(self) -> list[object]:
        """Return all that was learned as plain values."""
        return [
            {"model": model, "tier": tier, "calls": [[edge, count] for edge, count in histogram.counts.items()]}
            for (model, tier), histogram in self._pairs.items()
        ]

    def load(self, document: object) -> None:
        """Take what `dump` returned. Raises `ValueError` for anything else; nothing was taken then."""
        try:
            pairs = dict(_parsed(document))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"has an unknown shape: {error}") from error
        self._pairs = pairs


def bucket_edge(tokens: int) -> int:
    """Return the largest value of the bucket of a number: itself up to 15, then at most an eighth more."""
    shift = max(0, tokens.bit_length() - EXACT_BITS)
    return ((tokens >> shift) + 1 << shift) - 1


def _parsed(document: Any) -> Iterator[tuple[Pair, OutputHistogram]]:
    for entry in document[-MAX_PAIRS:]:
        tier = entry["tier"]
        counts = {_whole(edge): _whole(count) for edge, count in entry["calls"]}
        pair = (str(entry["model"]), None if tier is None else str(tier))
        yield pair, OutputHistogram(counts, sum(counts.values()))


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"has {value!r} where a count is expected")
    return value
