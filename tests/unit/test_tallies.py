"""Counts of the hot path: a scrape shows what prometheus_client's own counters would show."""

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest

from sidecar.metrics import BATCH_BUCKETS, DECISION_BUCKETS
from sidecar.tallies import Distribution, Tally


def _registry() -> CollectorRegistry:
    disable_created_metrics()  # type: ignore[no-untyped-call]
    return CollectorRegistry()


def test_a_tally_looks_like_a_counter() -> None:
    """Also before anything was counted, and with a label that needs escaping."""
    ours, theirs = _registry(), _registry()
    tally = Tally("calls", "Calls.", ("kind", "code"), registry=ours)
    counter = Counter("calls", "Calls.", ("kind", "code"), registry=theirs)
    assert generate_latest(theirs) == generate_latest(ours)
    tally.counts["a", 'quo"ted'] = 3
    tally.counts["b", ""] = 1
    counter.labels("a", 'quo"ted').inc(3)
    counter.labels("b", "").inc()
    assert generate_latest(theirs) == generate_latest(ours)


def test_a_distribution_looks_like_a_histogram() -> None:
    """Values on, between and beyond the ends of the buckets; none at all."""
    for bounds in (DECISION_BUCKETS, BATCH_BUCKETS):
        ours, theirs = _registry(), _registry()
        distribution = Distribution("time", "Time.", bounds, registry=ours)
        histogram = Histogram("time", "Time.", buckets=bounds, registry=theirs)
        assert generate_latest(theirs) == generate_latest(ours)
        for value in (0, bounds[0], bounds[0] * 1.5, bounds[-2], bounds[-1], bounds[-1] * 2):
            distribution.observe(value)
            histogram.observe(value)
        assert generate_latest(theirs) == generate_latest(ours)
