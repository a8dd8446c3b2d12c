"""`spendgate up` as a process: it serves over its own store, ends it with itself, and keeps the spend."""

import contextlib
import json
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from cli import demo, demo_processes, drill
from cli.main import main
from cli.store_socket import choose_socket_path, server_facts
from cli.up import store_dir
from tests.support.patience import sidecar_environment

ROOT = Path(__file__).parents[2]
DEADLINE_S = 60.0
POLL_S = 0.01
RULES = "rules:\n  - {kind: tier_template, key: free, limit_usd: 1, window: month, action: block}\n"


@pytest.fixture(autouse=True)
def _in_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run where `python -m cli.main` finds the code."""
    monkeypatch.chdir(ROOT)


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """Return a rule file."""
    path = tmp_path / "budgets.yaml"
    path.write_text(RULES)
    return path


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Return an empty data directory."""
    path = tmp_path / "data"
    path.mkdir()
    return path


def _post(url: str, body: dict[str, object]) -> dict[str, object]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=DEADLINE_S) as response:
        return dict(json.load(response))


def _demo(data_dir: Path, rules: Path) -> contextlib.AbstractContextManager[demo_processes.DemoProcesses]:
    return demo_processes.running_demo(data_dir, rules, 1, more=sidecar_environment({}))


def _until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _store_pid(data_dir: Path) -> int:
    return int(server_facts(choose_socket_path(store_dir(data_dir)))["process_id"])


def test_the_spend_survives_a_restart(data_dir: Path, rules: Path) -> None:
    """What was charged before `up` ended counts after the next start on the same data directory."""
    body = {"user_id": "ada", "tier": "free", "cost_usd": "0.75"}
    with _demo(data_dir, rules) as running:
        first = _post(f"{running.urls[0]}/v1/check", body)
    with _demo(data_dir, rules) as running:
        second = _post(f"{running.urls[0]}/v1/check", body)

    assert ("allow", "block", 0.75) == (first["decision"], second["decision"], second["spend_usd"])


def test_the_store_ends_with_up(data_dir: Path, rules: Path) -> None:
    """After SIGTERM neither `up` nor its store is left."""
    with _demo(data_dir, rules):
        pid = _store_pid(data_dir)

    assert not _runs(pid)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_a_clean_end(
    data_dir: Path, rules: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM and Ctrl-C end `up` with exit code 0."""
    ended: list[int] = []

    def stop(process: "subprocess.Popen[bytes]") -> None:
        process.send_signal(number)
        ended.append(process.wait(DEADLINE_S))

    monkeypatch.setattr(demo_processes, "_stop", stop)
    with _demo(data_dir, rules):
        pass

    assert [0] == ended


def test_a_killed_up_leaves_no_store(data_dir: Path, rules: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL of `up` ends its store as well."""

    def kill(process: "subprocess.Popen[bytes]") -> None:
        process.kill()
        process.wait()

    monkeypatch.setattr(demo_processes, "_stop", kill)
    with _demo(data_dir, rules):
        pid = _store_pid(data_dir)

    assert _until(lambda: not _runs(pid))


def test_the_demo_shows_every_outcome(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo succeeds, its audit finds no difference, and calls are allowed, warned, dry-run and blocked.

    Its drill shows that without the store each policy does what it says. How long an answer may take in it, and what is
    let through to be on disk, is no matter of a machine that stalls.
    """
    unhurried = sidecar_environment({"deadline_ms": 2000, "command_timeout_ms": 500})
    monkeypatch.setattr(demo, "running_demo", partial(demo_processes.running_demo, more=unhurried))
    monkeypatch.setattr(drill, "SLOWEST_S", DEADLINE_S)
    code = main(["demo", "--fail", "4"])
    shown = capsys.readouterr().out
    row = next(line for line in shown.splitlines() if line.startswith("all "))
    _, calls, allowed, warned, dry_run, blocked, failed, *_ = row.replace(",", "").split()

    counts = [int(allowed), int(warned), int(dry_run), int(blocked)]
    assert (0, "1500", "0", True, True) == (code, calls, failed, all(counts), "no difference" in shown), shown
    tiers = {line.split()[0]: line for line in shown.partition("was frozen")[2].splitlines() if line.split()}
    assert [True, True, True] == [
        "$0.0000   $0.0000" in tiers["free"],
        "no bound" in tiers["pro"],
        "   $0.0500 " in tiers["trial"],
    ]
