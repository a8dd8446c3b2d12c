"""The real packages over a fake provider, before a real sidecar and a real store.

These tests run in environments that have the providers' packages (``make providers``); elsewhere none is collected.
"""

import importlib.util
import json
from collections.abc import Iterator
from secrets import token_hex

import pytest

from tests.support.processes import SidecarProcess, running_sidecar, steady_timezone, template

collect_ignore_glob: list[str] = []
if importlib.util.find_spec("openai") is None:
    collect_ignore_glob += ["test_*.py"]
else:
    import anthropic
    import openai

    from tests.support.fake_provider import FakeProvider, fake_provider
    from tests.support.provider_apps import App

PATIENT = {"deadline_ms": 10_000, "command_timeout_ms": 10_000, "connect_timeout_ms": 10_000}
"""A busy machine makes no outage."""

if importlib.util.find_spec("langchain_core") is None:
    collect_ignore_glob += ["test_integration_*.py"]  # they stand on the current packages alone

INPUT_USD, OUTPUT_USD = 1_000, 10_000
"""For a million tokens, so that a token of input is 0.001 USD and one of output 0.01 USD."""

PRICES = [
    {
        "model": model,
        "input_usd_per_million": INPUT_USD,
        "output_usd_per_million": OUTPUT_USD,
        "cache_read_usd_per_million": INPUT_USD / 10,
        "cache_write_usd_per_million": INPUT_USD * 1.25,
    }
    for model in ("fake-model", "gpt-5-fake")
]
RULES = [
    template("roomy", 1000),
    template("tight", 1, on_unpriced="deny"),
    template("warned", 1, action="warn", alert_thresholds_pct=[50]),
    template("dry", "0.01", action="dry_run"),
]


@pytest.fixture(scope="session")
def sidecar(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SidecarProcess]:
    """A sidecar with prices and a few tiers."""
    directory = tmp_path_factory.mktemp("sidecar")
    rules = directory / "rules.json"
    rules.write_text(json.dumps({"workspace": {"timezone": steady_timezone()}, "rules": RULES, "prices": PRICES}))
    with running_sidecar(directory, valkey_url, rules, workspace=f"p-{token_hex(4)}", **PATIENT) as process:
        yield process


@pytest.fixture(scope="session")
def served_provider() -> Iterator["FakeProvider"]:
    """One for the whole run, for the clients that are made once."""
    with fake_provider() as fake:
        yield fake


@pytest.fixture
def provider(served_provider: "FakeProvider") -> "FakeProvider":
    """A provider that answers at once and saw nothing yet."""
    served_provider.reset()
    return served_provider


@pytest.fixture
def user() -> str:
    """A user that nobody charged before."""
    return f"user-{token_hex(6)}"


@pytest.fixture(scope="session", params=["blocking", "awaiting"])
def kept_app(
    request: pytest.FixtureRequest,
    sidecar: SidecarProcess,
    served_provider: "FakeProvider",
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator["App"]:
    """An app of either kind; its clients are made once, as they take longer than a call."""
    journal_dir = str(tmp_path_factory.mktemp("journal"))
    made = App(sidecar.url, served_provider.url, journal_dir, awaits=request.param == "awaiting")
    yield made
    made.close()


@pytest.fixture
def app(kept_app: "App", provider: "FakeProvider", monkeypatch: pytest.MonkeyPatch) -> "App":
    """An app whose providers' clients retry at once."""
    for package in (openai, anthropic):
        monkeypatch.setattr(package._base_client.BaseClient, "_calculate_retry_timeout", lambda *_: 0.001)
    return kept_app
