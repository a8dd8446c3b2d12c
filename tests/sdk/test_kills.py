"""Kills: an app between its call and its settle, the sidecar under an open hold, and both."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from spendgate import Spendgate, SpendgateRequestError, SpendgateUnavailableError

from tests.support.processes import ROOT, SidecarProcess, launch, template, wait_until_serving, write_rules
from tests.support.sdk_gates import TIMEOUT_S, eventually, settled_usage, spend_text

APP = """
import sys
from spendgate import Spendgate
url, journal, user, ttl_s = sys.argv[1:]
gate = Spendgate(url, timeout_s=60, tier="free", journal_dir=journal)
hold = gate.reserve(user, estimate_usd="0.5", ttl_s=int(ttl_s))
print("held", flush=True)
sys.stdin.readline()
settlement = hold.settle(cost_usd="0.25")
print("kept" if settlement is None else "settled", flush=True)
sys.stdin.readline()
"""
HASTY_S = 0.2
FORGETFUL = APP.partition("settlement =")[0].replace("sys.stdin", 'hold.note_cost("0.125")\nsys.stdin')


class Sidecar:
    """A sidecar on a Unix socket that is killed and started again on the same store."""

    def __init__(self, directory: Path, store_url: str) -> None:
        self.url = f"unix://{directory}/s"
        self._directory = directory
        self._store_url = store_url
        self._rules = write_rules(directory / "rules.json", template("free", 1))
        self._process: SidecarProcess | None = None

    def start(self) -> None:
        """Start it and wait until it serves."""
        own = self._directory / "sidecar"
        settings = {"workspace": "sdk-kills", "unix_socket": self._directory / "s"}
        self._process = wait_until_serving(launch(own, self._store_url, self._rules, **settings), own / "log")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        if self._process is not None:
            self._process.process.send_signal(number)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.process.kill()
            self._process.process.wait()
            self._process = None


@pytest.fixture
def sidecar(sidecar_directory: Path, valkey_url: str) -> Iterator[Sidecar]:
    """A sidecar that is running."""
    directory = sidecar_directory / "k"
    directory.mkdir(exist_ok=True)
    sidecar = Sidecar(directory, valkey_url)
    sidecar.start()
    try:
        yield sidecar
    finally:
        sidecar.kill()


class App:
    """A process that holds, and settles when it is told to."""

    def __init__(self, url: str, journal: Path, user: str, *, ttl_s: int = 600, program: str = APP) -> None:
        command = [sys.executable, "-c", program, url, str(journal), user, str(ttl_s)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT, text=True
        )

    def says(self) -> str:
        """Wait for its next word."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def go_on(self) -> None:
        """Let it do its next step."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def finish(self) -> None:
        """Let it come to its end."""
        self._process.communicate("\n" * 2)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def gate(sidecar: Sidecar) -> Iterator[Spendgate]:
    """Another client of that sidecar, which only looks."""
    with Spendgate(sidecar.url, timeout_s=TIMEOUT_S, tier="free") as gate:
        yield gate


def test_an_app_killed_between_call_and_settle_is_charged_its_estimate(
    sidecar: Sidecar, gate: Spendgate, user: str, tmp_path: Path
) -> None:
    """Nobody extends the hold any more, so it expires: the money may be gone."""
    app = App(sidecar.url, tmp_path, user, ttl_s=1)
    assert "held" == app.says()
    app.kill()

    assert "0.5" == spend_text(settled_usage(gate, user))


def test_a_settle_outlives_its_killed_sidecar(sidecar: Sidecar, gate: Spendgate, user: str, tmp_path: Path) -> None:
    """It waits on disk and arrives by itself when the sidecar is back; the file is gone afterwards."""
    with Spendgate(sidecar.url, timeout_s=TIMEOUT_S, tier="free", journal_dir=tmp_path) as app:
        hold = app.reserve(user, estimate_usd="0.5")
        sidecar.kill()
        settlement = hold.settle(cost_usd="0.25")
        waiting = list(tmp_path.iterdir())
        sidecar.start()

        assert (None, 1) == (settlement, len(waiting))
        assert "0.25" == spend_text(settled_usage(gate, user))
        eventually(lambda: not any(path.stat().st_size for path in tmp_path.iterdir()))


def test_a_settle_outlives_its_killed_app(sidecar: Sidecar, gate: Spendgate, user: str, tmp_path: Path) -> None:
    """The app dies while its sidecar is away; the next app delivers what it left."""
    app = App(sidecar.url, tmp_path, user)
    assert "held" == app.says()
    sidecar.kill()
    app.go_on()
    assert "kept" == app.says()
    app.kill()
    sidecar.start()
    assert 1 == gate.usage(user).open_holds

    with Spendgate(sidecar.url, timeout_s=TIMEOUT_S, journal_dir=tmp_path):
        assert "0.25" == spend_text(settled_usage(gate, user))


@pytest.mark.usefixtures("each_transport")
def test_a_reserve_that_was_denied_unanswered_is_given_back(sidecar: Sidecar, gate: Spendgate, user: str) -> None:
    """The sidecar is frozen, the call denied; when it wakes it makes the hold after all, which is released."""
    with Spendgate(sidecar.url, timeout_s=TIMEOUT_S, tier="free") as app:
        app.check(user, cost_usd="0.1")
        sidecar.signal(signal.SIGSTOP)
        _make_hasty(app)
        with pytest.raises(SpendgateUnavailableError):
            app.reserve(user, estimate_usd="0.5", request_id="call-1")
        sidecar.signal(signal.SIGCONT)

        eventually(lambda: _refusal_of_extend(gate, user, "call-1") == "already_released")
    assert ("0.1", 0) == (spend_text(gate.usage(user)), gate.usage(user).open_holds)


def _make_hasty(app: Spendgate) -> None:
    """Let a client wait only a moment from now on, over the connection that it has."""
    exchange = app._engine._transport._exchange  # type: ignore[attr-defined]
    exchange.timeout_s = HASTY_S
    exchange._extensions["timeout"].update(dict.fromkeys(exchange._extensions["timeout"], HASTY_S))


def _refusal_of_extend(gate: Spendgate, user: str, request_id: str) -> str | None:
    try:
        gate.extend(user, request_id)
    except SpendgateRequestError as error:
        return error.code
    return None


def test_an_app_that_ends_without_closing_anything_loses_nothing(
    sidecar: Sidecar, gate: Spendgate, user: str, tmp_path: Path
) -> None:
    """What was noted of an open hold is settled on the way out, and what cannot be delivered is written down."""
    app = App(sidecar.url, tmp_path, user, program=FORGETFUL)
    assert "held" == app.says()
    app.finish()
    assert "0.125" == spend_text(settled_usage(gate, user))

    app = App(sidecar.url, tmp_path, user, program=FORGETFUL)
    assert "held" == app.says()
    sidecar.kill()
    app.finish()
    sidecar.start()
    assert 1 == gate.usage(user).open_holds
    with Spendgate(sidecar.url, timeout_s=TIMEOUT_S, journal_dir=tmp_path):
        assert "0.25" == spend_text(settled_usage(gate, user))


@pytest.mark.usefixtures("each_transport")
def test_a_replaced_sidecar_is_not_noticed(sidecar: Sidecar, gate: Spendgate, user: str) -> None:
    """Kept-alive connections to the old one are broken; the next call goes to the new one without an error."""
    with Spendgate(sidecar.url, timeout_s=TIMEOUT_S, tier="free") as app:
        app.check(user, cost_usd="0.1")
        sidecar.kill()
        sidecar.start()
        app.check(user, cost_usd="0.1")

    assert "0.2" == spend_text(settled_usage(gate, user))
