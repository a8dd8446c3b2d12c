"""A real sidecar over a real store, for everything the SDK does."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest

from sidecar.listeners import Listeners
from tests.support.processes import template, write_rules
from tests.support.service_thread import sidecar_in_a_thread

RULES: Final = (
    template("free", 1),
    template("warned", 1, action="warn", alert_thresholds_pct=[50, 80]),
    template("dry", 1, action="dry_run"),
    template("*", 100, action="warn"),
)


PRICES: Final = [{"model": "gpt-4o-mini", "input_usd_per_million": 0.15, "output_usd_per_million": 0.6}]


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the tester's own sidecar and journal out."""
    for name in ("SPENDGATE_URL", "SPENDGATE_DECISION_TOKEN", "SPENDGATE_JOURNAL_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(scope="session")
def sidecar_directory() -> Iterator[Path]:
    """A directory with a short name: the path of a Unix socket is bounded."""
    with tempfile.TemporaryDirectory(prefix="sg-") as name:
        yield Path(name)


@pytest.fixture(scope="session")
def listeners(valkey_url: str, sidecar_directory: Path) -> Iterator[Listeners]:
    """One sidecar for the run; tests keep apart by user."""
    rules = write_rules(sidecar_directory / "rules.json", *RULES)
    rules.write_text(json.dumps(json.loads(rules.read_text()) | {"prices": PRICES}))
    settings = {
        "rules": rules,
        "workspace": "sdk",
        "unix_socket": sidecar_directory / "s",
    }
    with sidecar_in_a_thread(sidecar_directory / "data", valkey_url, **settings) as serving:
        yield serving


@pytest.fixture(params=["http", "stream"])
def each_transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let clients of a test use either transport."""
    monkeypatch.setattr("spendgate._setup.DEFAULT_TRANSPORT", request.param)


@pytest.fixture
def url(listeners: Listeners) -> str:
    """Where the sidecar is."""
    return listeners.decision_url


@pytest.fixture
def socket_url(listeners: Listeners, sidecar_directory: Path) -> str:
    """Where it is on a Unix socket."""
    return f"unix://{sidecar_directory / 's'}"


@pytest.fixture
def user() -> str:
    """A user of this test's own."""
    return f"user-{uuid4().hex}"
