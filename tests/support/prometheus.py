"""Prometheus itself: a real server over real targets, and promtool for rule files."""

import contextlib
import json
import re
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support.ports import free_ports
from tests.support.processes import ROOT

PROMETHEUS: Final = ROOT / "config" / "prometheus"
RULE_FILES: Final = (PROMETHEUS / "spendgate.rules.yaml", PROMETHEUS / "spendgate.alerts.yaml")
DASHBOARD: Final = ROOT / "config" / "grafana" / "spendgate.json"
START_DEADLINE_S: Final = 60.0
POLL_S: Final = 0.2
TOOL_TIMEOUT_S: Final = 60.0
SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def groups() -> list[dict[str, Any]]:
    """Return the groups of the rule files."""
    return [group for path in RULE_FILES for group in yaml.safe_load(path.read_text())["groups"]]


def rules(kind: str) -> dict[str, dict[str, Any]]:
    """Return the rules by name; the kind is ``alert`` or ``record``."""
    return {rule[kind]: rule for group in groups() for rule in group["rules"] if kind in rule}


def dashboard_queries() -> list[str]:
    """Return every query of the dashboard as Grafana would send it."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    return [query.replace("$__rate_interval", "10s").replace("$job", ".*") for query in queries]


def promtool(*words: str) -> "subprocess.CompletedProcess[str]":
    """Run promtool; `make test` has made sure that it is here."""
    return subprocess.run(["promtool", *words], capture_output=True, text=True, timeout=TOOL_TIMEOUT_S, check=False)


def hasten(text: str, factor: int) -> str:
    """Return a rule file with every range and waiting time divided, so that an outage of seconds is a long one."""

    def shorter(match: re.Match[str]) -> str:
        seconds = int(match["number"]) * SECONDS[match["unit"]]
        return f"{match['before']}{max(1, seconds // factor)}s"

    return re.sub(r"(?P<before>\[|for: |interval: |offset )(?P<number>\d+)(?P<unit>[smhd])\b", shorter, text)


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running server."""

    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples of an instant query."""
        found: list[dict[str, Any]] = self._get(f"query?{urllib.parse.urlencode({'query': expression})}")["result"]
        return found

    def firing(self) -> set[str]:
        """Return the names of the alerts that ring."""
        alerts = self._get("alerts")["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def until(self, condition: Callable[["Prometheus"], bool], deadline_s: float) -> bool:
        """Wait until a condition holds; returns whether it did."""
        deadline = time.monotonic() + deadline_s
        while not condition(self):
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
        return True

    def _get(self, path: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}", timeout=TOOL_TIMEOUT_S) as response:
            answer = json.load(response)
        data: dict[str, Any] = answer["data"]
        return data


@contextlib.contextmanager
def running_prometheus(directory: Path, targets: Mapping[str, str], *, hasten_by: int) -> Iterator[Prometheus]:
    """Run a server that scrapes targets (addresses by job) each second and judges our rules, hastened."""
    for path in RULE_FILES:
        (directory / path.name).write_text(hasten(path.read_text(), hasten_by))
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [path.name for path in RULE_FILES],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [address]}]} for job, address in targets.items()
        ],
    }
    (directory / "prometheus.yaml").write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{free_ports(1)[0]}"
    command = [
        *("prometheus", f"--config.file={directory / 'prometheus.yaml'}", f"--web.listen-address={address}"),
        *(f"--storage.tsdb.path={directory / 'data'}", "--log.level=warn"),
    ]
    with (directory / "prometheus.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            server = Prometheus(f"http://{address}")
            _wait_until_ready(server, process, directory / "prometheus.log")
            yield server
        finally:
            process.terminate()
            process.wait(START_DEADLINE_S)


def _wait_until_ready(server: Prometheus, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_DEADLINE_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{server.url}/-/ready", timeout=5):
            return
        time.sleep(POLL_S)
    raise RuntimeError(f"Prometheus did not start: {log.read_text()}")


def as_prometheus_rule() -> str:
    """Return the rule files as one object of the Prometheus Operator."""
    head = "# Made by `python -m tests.support.prometheus` from config/prometheus. Do not edit.\n"
    document = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "spendgate"},
        "spec": {"groups": groups()},
    }
    return head + yaml.safe_dump(document, sort_keys=False, width=120)


PROMETHEUS_RULE: Final = ROOT / "config" / "kubernetes" / "monitoring" / "prometheusrule.yaml"

if __name__ == "__main__":
    PROMETHEUS_RULE.write_text(as_prometheus_rule())
