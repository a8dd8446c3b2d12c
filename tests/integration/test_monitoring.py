"""Rules, alerts and the dashboard: what they ask for exists, and alerts ring for what they are meant for."""

import re
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.support.processes import ROOT
from tests.support.prometheus import (
    PROMETHEUS,
    PROMETHEUS_RULE,
    RULE_FILES,
    as_prometheus_rule,
    dashboard_queries,
    promtool,
    rules,
)

DOCUMENTS: Final = (ROOT / "docs" / "metrics.md", ROOT / "docs" / "control-plane.md")
SCRAPED: Final = frozenset({"job", "instance", "worker"})
ALERTS: Final = rules("alert")
UNIT_TESTS: Final = PROMETHEUS / "tests" / "alerts.yaml"
ROW: Final = re.compile(r"^\| `(spendgate_\w+)` \| (\w+) \| ([^|]*) \|", re.MULTILINE)


def _documented() -> dict[str, set[str]]:
    """Return the labels of every series; unit tests hold these documents against the real registries."""
    series: dict[str, set[str]] = {}
    for document in DOCUMENTS:
        for name, kind, labels in ROW.findall(document.read_text()):
            known = set(re.findall(r"`(\w+)`", labels)) | SCRAPED
            names = {name: known}
            if kind == "histogram":
                names = {f"{name}_bucket": known | {"le"}, f"{name}_sum": known, f"{name}_count": known}
            series.update(names)
    return series


def _queries() -> list[str]:
    return [*dashboard_queries(), *[rule["expr"] for rule in (*ALERTS.values(), *rules("record").values())]]


def test_promtool_accepts_the_rules() -> None:
    """Syntax, templates and duplicates."""
    result = promtool("check", "rules", "--lint=all", "--lint-fatal", *map(str, RULE_FILES))
    assert 0 == result.returncode, result.stdout + result.stderr


def test_the_example_configuration_is_valid() -> None:
    """With the files that it names."""
    result = promtool("check", "config", str(PROMETHEUS / "prometheus.yaml"))
    assert 0 == result.returncode, result.stdout + result.stderr


def test_alerts_ring_and_end_as_they_should() -> None:
    """The unit tests of the rule files."""
    result = promtool("test", "rules", str(UNIT_TESTS))
    assert 0 == result.returncode, result.stdout + result.stderr


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_is_tested_both_ways(name: str) -> None:
    """One test hears it ring, another sees it silent while all is well."""
    cases = [case for test in yaml.safe_load(UNIT_TESTS.read_text())["tests"] for case in test["alert_rule_test"]]
    own = [case["exp_alerts"] for case in cases if case["alertname"] == name]
    assert (True, True) == (any(own), [] in own)


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_has_its_runbook(name: str) -> None:
    """Whoever is woken finds out what it means, what to look at, and what to do."""
    page = ROOT / ALERTS[name]["annotations"]["runbook"]
    text = page.read_text()
    assert (page.stem, f"# {name}") == (name, text.splitlines()[0])
    assert [] == [heading for heading in ("## Find out", "## Do", "## Afterwards") if heading not in text]
    assert ALERTS[name]["labels"]["severity"] in {"page", "ticket"}


def test_every_runbook_belongs_to_an_alert() -> None:
    """A page for an alert that is gone sends people astray."""
    assert set(ALERTS) == {page.stem for page in (ROOT / "docs" / "runbooks").glob("*.md")}


def test_every_metric_that_is_asked_for_exists() -> None:
    """A misspelt name is an alert that never rings and a panel that stays empty."""
    known = set(_documented()) | set(rules("record"))
    asked = {name for query in _queries() for name in re.findall(r"\bspendgate[_:][\w:]+", query)}
    assert len(asked) > 20
    assert set() == asked - known


def test_every_label_that_is_asked_for_exists() -> None:
    """Selectors name labels that the metric has."""
    series, wrong = _documented(), []
    for query in _queries():
        for name, selector in re.findall(r"\b(spendgate_\w+)\{([^}]*)\}", query):
            labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector))
            wrong += [f"{name}: {label}" for label in labels - series[name]]
    assert [] == wrong


def test_runbooks_name_metrics_that_exist() -> None:
    """They are read at night."""
    known = set(_documented()) | {name.removesuffix("_bucket") for name in _documented()} | set(rules("record"))
    text = "\n".join(page.read_text() for page in (ROOT / "docs" / "runbooks").glob("*.md"))
    assert set() == set(re.findall(r"\bspendgate[_:][\w:]+", text)) - known


def test_the_operators_rules_are_those_of_the_files() -> None:
    """One source, two forms; `python -m tests.support.prometheus` writes the second."""
    assert as_prometheus_rule() == PROMETHEUS_RULE.read_text()


def test_links_of_runbooks_lead_somewhere() -> None:
    """Every relative link is a page."""
    pages = [*(ROOT / "docs" / "runbooks").glob("*.md"), ROOT / "docs" / "monitoring.md"]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", page.read_text())]
    assert [] == [(page.name, link) for page, link in links if not _exists(page, link)]


def _exists(page: Path, link: str) -> bool:
    return link.startswith("http") or (page.parent / link).exists()


def _example_of(rule: dict[str, Any]) -> str:
    return str(rule["expr"])


def test_alerts_look_at_no_longer_range_than_they_say() -> None:
    """A page must ring within minutes: its range and its waiting time together are at most five."""
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
    for name, rule in ALERTS.items():
        if rule["labels"]["severity"] == "page":
            ranges = [int(n) * seconds[u] for n, u in re.findall(r"\[(\d+)([smhd])\]", _example_of(rule))]
            waits = [int(n) * seconds[u] for n, u in re.findall(r"^(\d+)([smhd])$", rule.get("for", "0s"))]
            assert sum(waits) + max(ranges, default=0) <= 300, name
