"""The workers' metrics in one scrape."""

from prometheus_client.parser import text_string_to_metric_families

from sidecar.metrics import Metrics
from sidecar.worker_metrics import merge_metrics


def _samples(text: str) -> dict[tuple[str, str], float]:
    """Return every sample's value by its name and worker."""
    families = text_string_to_metric_families(text)
    return {(each.name, each.labels["worker"]): each.value for family in families for each in family.samples}


def test_each_sample_keeps_its_worker() -> None:
    """Counters, gauges and histograms of two workers stand side by side, in families of one type and help."""
    first, second = Metrics(version="1"), Metrics(version="1")
    first.record_store_error("store_full")
    second.set_queue(7)
    second.record_batch(3, 0.001)
    merged = merge_metrics({1: first.render().decode(), 2: second.render().decode()}).decode()
    samples = _samples(merged)
    assert (7.0, 0.0) == (samples["spendgate_queue_operations", "2"], samples["spendgate_queue_operations", "1"])
    assert (3.0, 0.0) == (
        samples["spendgate_batch_operations_sum", "2"],
        samples["spendgate_batch_operations_sum", "1"],
    )
    assert samples["spendgate_store_errors_total", "1"] == 1.0
    assert merged.count("# TYPE spendgate_queue_operations gauge") == 1
    assert merged.count("# TYPE spendgate_store_errors_total counter") == 1


def test_nothing_but_the_label_is_new() -> None:
    """One worker's metrics are those of a sidecar without workers."""
    metrics = Metrics(version="1")
    alone = metrics.render().decode()
    merged = merge_metrics({1: alone}).decode()
    without = merged.replace('{worker="1"}', "").replace(',worker="1"', "")
    assert sorted(alone.splitlines()) == sorted(without.splitlines())


def test_no_workers_have_no_metrics() -> None:
    """Between the death of the last and its return a scrape is empty, not an error."""
    assert merge_metrics({}) == b""
