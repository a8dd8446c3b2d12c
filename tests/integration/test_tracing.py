"""Traces: spans of real calls over a real store, children of the caller's, and nothing loaded when they are off."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from sidecar.tracing import Tracing
from tests.support.books import new_workspace
from tests.support.processes import ROOT, template, write_rules
from tests.support.service_thread import sidecar_in_a_thread

TRACE: Final = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER: Final = "00f067aa0ba902b7"
USER: Final = "alice@example.com"


def _call(url: str, path: str, body: dict[str, object]) -> dict[str, object]:
    headers = {"Content-Type": "application/json", "traceparent": f"00-{TRACE}-{CALLER}-01"}
    request = urllib.request.Request(f"{url}{path}", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        answer: dict[str, object] = json.load(response)
    return answer


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Return what collects the spans instead of a collector elsewhere."""
    exporter = InMemorySpanExporter()
    monkeypatch.setattr(
        Tracing, "over_otlp", classmethod(lambda cls, version: cls(SimpleSpanProcessor(exporter), version=version))
    )
    return exporter


def _named(spans: Sequence[ReadableSpan], name: str) -> list[ReadableSpan]:
    return [span for span in spans if span.name == name]


def test_a_call_has_a_span_with_its_wait_on_the_store(
    tmp_path: Path, valkey_url: str, spans: InMemorySpanExporter
) -> None:
    """In the caller's trace; the model by GenAI's names, the decision as an event, the user nowhere."""
    rules = write_rules(tmp_path / "rules.yaml", template("free", 5))
    settings = {"workspace": new_workspace(), "rules": rules, "traces": "otlp"}
    with sidecar_in_a_thread(tmp_path / "data", valkey_url, **settings) as sidecar:
        owner = {"user_id": USER, "request_id": "call-1"}
        _call(sidecar.decision_url, "/v1/reserve", {**owner, "tier": "free", "estimate_usd": 1})
        usage = {"model": "gpt-5", "input_tokens": 12, "output_tokens": 3}
        _call(sidecar.decision_url, "/v1/settle", {**owner, "usage": usage})
    finished = spans.get_finished_spans()

    (reserve,), (settle,) = _named(finished, "POST /v1/reserve"), _named(finished, "POST /v1/settle")
    (admit,), (resolve,) = _named(finished, "spendgate admit"), _named(finished, "spendgate resolve")
    assert {TRACE} == {f"{span.context.trace_id:032x}" for span in finished}
    assert reserve.parent is not None
    assert CALLER == f"{reserve.parent.span_id:016x}"
    assert [reserve.context, settle.context] == [admit.parent, resolve.parent]
    assert "gpt-5" == (settle.attributes or {})["gen_ai.request.model"]
    (event,) = reserve.events
    assert "call-1" == (event.attributes or {})["spendgate.request_id"]
    assert USER not in "".join(span.to_json() for span in finished)


def test_without_traces_nothing_of_them_is_needed() -> None:
    """Who does not want them has no cost, and needs no package: every command runs without."""
    program = (
        "import sys; sys.modules['opentelemetry'] = None\nfrom cli.main import build_parser; build_parser()\n"
        "print('sidecar.tracing' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "False" == result.stdout.strip()


def test_traces_without_their_packages_are_refused_at_the_start() -> None:
    """With the name of the extra, and not at the first call."""
    program = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from sidecar.observing import LedgerError, _tracing\n"
        "try:\n    _tracing('1')\nexcept LedgerError as error:\n    print(error)"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "the extra `traces`" in result.stdout
