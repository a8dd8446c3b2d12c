"""The command line: usage errors, rule files, replays, audits, and how failures are told."""

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from cli import audit, demo_processes, sidecar
from cli.main import main
from cli.trace import generate_trace, trace_lines
from ledger.audit import AuditReport
from ledger.audit_difference import Difference
from ledger.errors import StoreUnavailable
from sidecar.settings import Settings

VALID_RULES = """\
workspace: {timezone: Europe/Berlin, mode: observe}
rules:
  - {kind: tier_template, key: free, limit_usd: 5, window: month, action: block}
  - {kind: user_override, key: user-42, limit_usd: 200, window: month, status: disabled}
"""


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Keep the tester's own settings out, and the process's signal handlers as they were."""
    for name in [*os.environ]:
        if name.startswith(("SPENDGATE_", "KUBERNETES_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


def _usage_error(*words: str) -> int | str | None:
    with pytest.raises(SystemExit) as exit_info:
        main(words)
    return exit_info.value.code


def _rules(tmp_path: Path, text: str, name: str = "budgets.yaml") -> str:
    path = tmp_path / name
    path.write_text(text)
    return str(path)


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` prints the installed version and succeeds."""
    code = _usage_error("--version")

    assert (0, f"spendgate {version('spendgate-server')}\n") == (code, capsys.readouterr().out)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["enforce"],
        ["rules"],
        ["rules", "validate"],
        ["usage"],
        ["replay"],
        ["replay", "x.csv", "--users", "0"],
        ["replay", "x.csv", "--speed", "0"],
        ["replay", "x.csv", "--usd-per-million-input", "-1"],
        ["trace", "generate", "--calls", "5"],
        ["up", "--push-token", "0123456789abcdef"],
    ],
)
def test_wrong_usage_is_exit_code_2(words: list[str]) -> None:
    """What the parser refuses ends with 2."""
    assert 2 == _usage_error(*words)


def test_valid_rules_are_summed_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A valid rule file succeeds with one line about it."""
    file = _rules(tmp_path, VALID_RULES)
    code = main(["rules", "validate", file])

    expected = (
        f"{file}: valid, 1 tier templates, 1 user overrides (1 disabled), time zone Europe/Berlin, mode observe, "
        "plan growth\n"
    )
    assert (0, expected) == (code, capsys.readouterr().out)


def test_every_fault_of_a_rule_file_is_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All faults are printed, each with its path, and the exit code is 1."""
    file = _rules(
        tmp_path, "rules:\n  - {kind: tier_template, key: free, limit_usd: -1, window: year}\n  - {kind: x}\n"
    )
    code = main(["rules", "validate", file])
    paths = {line.split(": ")[1] for line in capsys.readouterr().err.splitlines()}

    assert (1, set()) == (code, {"rules[0].limit_usd", "rules[0].window", "rules[1].kind"} - paths)


def test_a_yaml_fault_has_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is no YAML is refused with the line of the fault."""
    file = _rules(tmp_path, "rules:\n  - {kind: tier_template\n  - ]\n")
    code = main(["rules", "validate", file])

    assert (1, True) == (code, "line 3" in capsys.readouterr().err)


def test_rules_in_json_are_read(tmp_path: Path) -> None:
    """A file named .json is read as JSON."""
    file = _rules(tmp_path, json.dumps({"rules": []}), "budgets.json")

    assert 0 == main(["rules", "validate", file])


def test_a_missing_rule_file_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """A rule file that does not exist is a failure on standard error."""
    code = main(["rules", "validate", "absent.yaml"])

    assert (1, "spendgate: absent.yaml cannot be read: No such file or directory\n") == (code, capsys.readouterr().err)


def test_the_trace_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """`trace generate` prints the trace of its seed."""
    main(["trace", "generate", "--calls", "20", "--seed", "4"])

    assert "".join(trace_lines(generate_trace(20, 4))) == capsys.readouterr().out


def test_a_replay_without_a_sidecar_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """When calls fail the replay's exit code is 1, and its JSON counts them."""
    trace = tmp_path / "trace.csv"
    trace.write_text("".join(trace_lines(generate_trace(2, 4))))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # Bound but not listening: connections are refused.
        code = main(["replay", str(trace), "--url", f"http://127.0.0.1:{taken.getsockname()[1]}", "--json"])

    assert (1, 2) == (code, json.loads(capsys.readouterr().out)["failed"])


def test_a_replay_of_no_trace_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """A trace that is missing is a failure on standard error."""
    code = main(["replay", "absent.csv"])

    assert (1, True) == (code, capsys.readouterr().err.startswith("spendgate: absent.csv: "))


def test_senseless_tiers_are_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """Tiers without shares are refused with the form they should have."""
    code = main(["replay", "absent.csv", "--tiers", "free"])

    assert (2, "spendgate: 'free' is not of the form free:0.7,pro:0.3\n") == (code, capsys.readouterr().err)


def _report(*differences: Difference) -> Callable[[str, str], AuditReport]:
    return lambda url, workspace: AuditReport(
        counters=3, records=2, open_holds=1, held_nanos=1, charged_nanos=2_000_000_000, differences=list(differences)
    )


def test_a_clean_audit_succeeds(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """An audit without differences prints its lines and succeeds."""
    monkeypatch.setattr(audit, "audit", _report())
    code = main(["audit", "--redis-url", "redis://127.0.0.1:1"])

    assert (0, "no difference") == (code, capsys.readouterr().out.splitlines()[-1])


def test_an_audit_with_differences_is_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A difference is printed with exact amounts and makes the exit code 1."""
    monkeypatch.setattr(audit, "audit", _report(Difference("user a, day:1:2, held", "exactly", 1, 0)))
    code = main(["audit", "--redis-url", "redis://127.0.0.1:1", "--json"])

    expected = {
        "what": "user a, day:1:2, held",
        "relation": "exactly",
        "expected_usd": "0.000000001",
        "found_usd": "0.00",
    }
    assert (1, [expected]) == (code, json.loads(capsys.readouterr().out)["differences"])


def test_an_audit_needs_a_store(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a URL the audit says how to give one."""
    code = main(["audit"])

    assert (2, True) == (code, "SPENDGATE_REDIS_URL" in capsys.readouterr().err)


def test_an_audit_of_a_silent_store_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A store that does not answer is a failure, not a clean audit."""

    def fail(url: str, workspace: str) -> AuditReport:
        raise StoreUnavailable("Redis did not answer")

    monkeypatch.setattr(audit, "audit", fail)
    code = main(["audit", "--redis-url", "redis://127.0.0.1:1"])

    assert (1, "spendgate: Redis did not answer\n") == (code, capsys.readouterr().err)


def test_ctrl_c_is_exit_code_130(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends a command without a traceback."""

    def interrupt(_: Settings) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sidecar, "run_sidecar", interrupt)

    assert 130 == main(["sidecar", "--redis-url", "redis://127.0.0.1:1"])


def test_a_taken_port_is_avoided() -> None:
    """The demo takes another port when somebody listens on the one it prefers."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        preferred = taken.getsockname()[1]

        assert preferred != demo_processes.free_port(preferred)


def test_the_demo_needs_its_files(capsys: pytest.CaptureFixture[str]) -> None:
    """Outside a checkout the demo says what it misses."""
    code = main(["demo"])

    assert (1, True) == (code, "run the demo in a checkout" in capsys.readouterr().err)
