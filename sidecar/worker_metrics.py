"""The workers' metrics in one scrape: each sample keeps its worker as a label.

Not summed here: a worker that was started again counts from zero, and only Prometheus can tell that from a counter
that went back. ``sum without (worker) (rate(...))`` adds them rightly.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import cast

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families


class _Families:
    """What `generate_latest` needs of a registry."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)


def merge_metrics(texts: Mapping[int, str]) -> bytes:
    """Return the metrics of all workers, by number, in Prometheus' text format; every sample has a label `worker`."""
    merged: dict[str, Metric] = {}
    for number, text in texts.items():
        for family in text_string_to_metric_families(text):
            whole = merged.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            for sample in family.samples:
                whole.add_sample(sample.name, {**sample.labels, "worker": str(number)}, sample.value)
    return generate_latest(cast("CollectorRegistry", _Families(merged.values())))
