"""Metrics: what is counted under which labels, and that all of it is documented."""

import re
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from ledger.decisions import Decision, HoldState, Operation, Outcome, Reason, Settlement
from ledger.rules import RuleSet, Workspace
from sidecar.metrics import Metrics

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"


def _decision(**changes: Any) -> Decision:
    fields: dict[str, Any] = {
        "operation": Operation.CHECK,
        "request_id": "r-1",
        "user_id": "alice@example.com",
        "tier": "gold",
        "outcome": Outcome.ALLOW,
        "reason": Reason.NO_RULE,
        "budgets": (),
        "decider": None,
        "rules_revision": 1,
        "at_ms": 0,
    }
    return Decision(**(fields | changes))


def _settlement() -> Settlement:
    return Settlement(
        operation=Operation.SETTLE,
        request_id="r-1",
        user_id="alice@example.com",
        tier="gold",
        outcome=Outcome.ALLOW,
        reason=Reason.NO_RULE,
        budgets=(),
        decider=None,
        rules_revision=1,
        at_ms=0,
        state_before=HoldState.EXPIRED,
        charged_nanos=1,
        estimate_nanos=1,
    )


def _value(metrics: Metrics, sample: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(sample, labels)


def test_decisions_are_counted_by_what_they_say() -> None:
    """Operation, decision, reason and degraded, each combination for itself."""
    metrics = Metrics()
    metrics.record_decision(_decision(), 0.001)
    metrics.record_decision(_decision(), 0.001)
    metrics.record_decision(_decision(outcome=Outcome.BLOCK, reason=Reason.STORE_UNAVAILABLE, degraded=True), 0.001)
    counted = [
        _value(metrics, "spendgate_decisions_total", operation="check", decision=word, reason=why, degraded=degraded)
        for word, why, degraded in [("allow", "no_rule", "false"), ("block", "store_unavailable", "true")]
    ]
    assert [2.0, 1.0] == counted


def test_a_decision_of_half_a_millisecond_has_its_bucket() -> None:
    """Buckets are fine where decisions are."""
    metrics = Metrics()
    metrics.record_decision(_decision(), 0.0004)
    counts = [_value(metrics, "spendgate_decision_seconds_bucket", le=le) for le in ("0.00025", "0.0005")]
    assert [0.0, 1.0] == counts


def test_settlements_are_counted_by_what_they_found() -> None:
    """Late ones can be told from those in time."""
    metrics = Metrics()
    metrics.record_settlement(_settlement())
    assert 1.0 == _value(metrics, "spendgate_settlements_total", operation="settle", state_before="expired")


def test_a_script_run_is_counted_with_its_size_and_time() -> None:
    """How well operations join shows in the mean of the sizes."""
    metrics = Metrics()
    metrics.record_batch(8, 0.002)
    sums = _value(metrics, "spendgate_batch_operations_sum"), _value(metrics, "spendgate_store_round_trip_seconds_sum")
    assert (8.0, 0.002) == sums


def test_failures_are_counted_by_code() -> None:
    """Problems for callers and failures of the store are two things."""
    metrics = Metrics()
    metrics.record_problem("bad_host")
    metrics.record_store_error("store_unavailable")
    assert (1.0, 1.0) == (
        _value(metrics, "spendgate_problems_total", code="bad_host"),
        _value(metrics, "spendgate_store_errors_total", code="store_unavailable"),
    )


def test_the_rules_in_force_are_shown() -> None:
    """Revision and number, and the moment."""
    metrics = Metrics()
    metrics.set_rules(RuleSet.of(revision=42, workspace=Workspace(), rules=()))
    assert (42.0, 0.0) == (_value(metrics, "spendgate_rules_revision"), _value(metrics, "spendgate_rules"))
    assert _value(metrics, "spendgate_rules_loaded_timestamp_seconds")


def test_gauges_show_the_last_value() -> None:
    """The queue and the loop's lag go down again."""
    metrics = Metrics()
    for value in (5, 2):
        metrics.set_queue(value)
        metrics.set_loop_lag(value)
    assert (2.0, 2.0) == (_value(metrics, "spendgate_queue_operations"), _value(metrics, "spendgate_loop_lag_seconds"))


def test_two_sidecars_in_a_process_do_not_share_counts() -> None:
    """Each has a registry of its own."""
    first, second = Metrics(), Metrics()
    first.record_rules_rejected()
    assert (1.0, 0.0) == (
        _value(first, "spendgate_rules_rejected_total"),
        _value(second, "spendgate_rules_rejected_total"),
    )


def test_no_user_and_no_tier_is_shown() -> None:
    """The admin listener may be open to anybody in the network."""
    metrics = Metrics()
    metrics.record_decision(_decision(), 0.001)
    metrics.record_settlement(_settlement())
    assert not re.search(rb"alice|gold|r-1", metrics.render())


def test_every_metric_is_documented_as_it_is() -> None:
    """Name, type and labels of the document are those of the registry."""
    metrics = Metrics(version="1")
    metrics.record_decision(_decision(), 0.001)
    metrics.record_settlement(_settlement())
    metrics.record_usage_event("charged")
    metrics.record_problem("x")
    metrics.record_store_error("x")
    metrics.set_rules_source("store")
    expected = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        expected[name] = (family.type, labels)
    rows = re.findall(r"^\| `(spendgate_\w+)` \| (\w+) \| ([^|]*) \|", DOCUMENT.read_text(), re.MULTILINE)
    assert expected == {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
