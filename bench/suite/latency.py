"""Latencies as an HDR histogram: microseconds from 1 to a minute, three digits, merged over rounds without loss."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, Self

from hdrh.histogram import HdrHistogram

HIGHEST_US: Final = 60_000_000
DIGITS: Final = 3
PERCENTILES: Final = {"p50_ms": 50.0, "p90_ms": 90.0, "p99_ms": 99.0, "p999_ms": 99.9}


class Latencies:
    """Counts latencies; `encode` makes text of them that every HdrHistogram implementation reads."""

    def __init__(self) -> None:
        self.histogram = HdrHistogram(1, HIGHEST_US, DIGITS)

    @classmethod
    def decode(cls, text: str) -> Self:
        """Return what `encode` wrote."""
        latencies = cls()
        latencies.histogram = HdrHistogram.decode(text)
        return latencies

    @classmethod
    def merged(cls, parts: Iterable["Latencies"]) -> Self:
        """Return all of several runs."""
        whole = cls()
        for part in parts:
            whole.histogram.add(part.histogram)
        return whole

    def add(self, seconds: Iterable[float]) -> None:
        """Count latencies; beyond a minute they count as a minute, below a microsecond as one."""
        for each in seconds:
            self.histogram.record_value(min(max(round(each * 1e6), 1), HIGHEST_US))

    def encode(self) -> str:
        """Return the histogram in its compressed form."""
        return str(self.histogram.encode().decode())

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self.histogram.get_total_count())

    def at_percentile_ms(self, percentile: float) -> float:
        """Return the latency that this share of all does not pass, in milliseconds."""
        return float(self.histogram.get_value_at_percentile(percentile)) / 1000

    def summary(self) -> Mapping[str, Any]:
        """Return the usual percentiles, the maximum and the histogram itself."""
        if not self.count:
            raise ValueError("there are no latencies")
        return {
            **{name: self.at_percentile_ms(percentile) for name, percentile in PERCENTILES.items()},
            "max_ms": float(self.histogram.get_max_value()) / 1000,
            "histogram": self.encode(),
        }
