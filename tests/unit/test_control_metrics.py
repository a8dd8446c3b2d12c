"""Metrics of the control plane: what is counted is documented, and the other way round."""

import re
from pathlib import Path

from controlplane.metrics import Metrics
from ledger.webhook_queue import Backlog

DOCUMENT = Path(__file__).parents[2] / "docs" / "control-plane.md"


def test_every_metric_is_documented_with_its_labels() -> None:
    """And the document has no other ones."""
    metrics = Metrics(version="test")
    metrics.record_request("GET", "/", 200, 0.01)
    metrics.record_problem("internal")
    metrics.record_webhook("ops", "delivered")
    metrics.set_webhook_backlog("ops", Backlog(lag=1, pending=2))
    metrics.set_tiers([("free", "day", 1.5, 3)])
    metrics.set_sidecars("current", 2)
    expected = set()
    for family in metrics.registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        expected.add((name, family.type, frozenset(labels)))
    rows = re.findall(r"^\| `(spendgate_control_\w+)` \| (\w+) \| (.*?) \|", DOCUMENT.read_text(), re.MULTILINE)
    documented = {(name, kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    assert expected == documented
