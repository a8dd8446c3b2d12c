"""`spendgate healthcheck`: where it asks, and what its exit code says."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cli import entry, healthcheck

ADMIN = {"sidecar": "SPENDGATE_ADMIN", "controlplane": "SPENDGATE_CONTROL_ADMIN"}


@contextmanager
def _answering(status: int) -> Iterator[tuple[str, list[str]]]:
    """Serve one status on a free port; yields the port and the paths that were asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b'{"status": "as asked"}')

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield str(server.server_port), asked
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("process", ADMIN)
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_a_process_that_is_ready_is_healthy(process: str, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked where its own settings say that it serves; a listener on every address is asked on loopback."""
    with _answering(200) as (port, asked):
        monkeypatch.setenv(f"{ADMIN[process]}_HOST", host)
        monkeypatch.setenv(f"{ADMIN[process]}_PORT", port)
        assert (0, ["/readyz"]) == (healthcheck.main([process]), asked)


def test_only_liveness_may_be_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A runtime that restarts what is unhealthy must not restart what only waits for its rules."""
    with _answering(200) as (port, asked):
        monkeypatch.setenv("SPENDGATE_ADMIN_PORT", port)
        assert (0, ["/livez"]) == (healthcheck.main(["--live"]), asked)


def _failure(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[object, str]:
    with pytest.raises(SystemExit) as exit_info:
        healthcheck.main(words)
    return exit_info.value.code, capsys.readouterr().err


def test_a_process_that_is_not_ready_is_not_healthy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The answer is passed on: it says what is missing."""
    with _answering(503) as (port, _):
        monkeypatch.setenv("SPENDGATE_ADMIN_PORT", port)
        code, told = _failure([], capsys)
    assert (1, True) == (code, 'answers 503: {"status": "as asked"}' in told)


@pytest.mark.parametrize("port", ["auto", "99999"])
def test_a_port_that_cannot_be_known_is_wrong_usage(
    port: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and the variable is named."""
    monkeypatch.setenv("SPENDGATE_ADMIN_PORT", port)
    code, told = _failure([], capsys)
    assert (2, True) == (code, "SPENDGATE_ADMIN_PORT: must be" in told)


def test_the_console_script_asks_without_loading_the_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check every few seconds must not cost what a start costs."""
    with _answering(200) as (port, _):
        monkeypatch.setenv("SPENDGATE_ADMIN_PORT", port)
        monkeypatch.setattr("sys.argv", ["spendgate", "healthcheck"])
        monkeypatch.setattr(entry, "import_module", lambda name: pytest.fail(f"{name} was loaded"))
        assert 0 == entry.main()


def test_the_console_script_runs_every_other_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is no health check is `cli.main`'s."""
    monkeypatch.setattr("sys.argv", ["spendgate", "--version"])
    with pytest.raises(SystemExit) as exit_info:
        entry.main()
    assert (0, True) == (exit_info.value.code, capsys.readouterr().out.startswith("spendgate "))
