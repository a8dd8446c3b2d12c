"""The command line: usage errors, environment variables, rule files, audits, and how failures are told."""

import asyncio
import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from aiohttp import web

from cli import audit, demo_processes, sidecar
from cli.main import main
from cli.trace import generate_trace, trace_lines
from ledger.audit import AuditReport
from ledger.audit_difference import Difference
from ledger.errors import RuleSetInvalid, StoreUnavailable
from sidecar.settings import SETTINGS, Settings

VALID_RULES = """\
workspace: {timezone: Europe/Berlin, mode: observe}
rules:
  - {kind: tier_template, key: free, limit_usd: 5, window: month, action: block}
  - {kind: user_override, key: user-42, limit_usd: 200, window: month, status: disabled}
"""
Handler = Callable[[web.Request], web.Response]


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


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """Replace the sidecar by a list of the settings that it was run with."""
    runs: list[Settings] = []
    monkeypatch.setattr(sidecar, "run_sidecar", runs.append)
    return runs


@pytest.fixture
def fake_sidecar() -> Iterator[Callable[[Handler], str]]:
    """Return a function that serves a handler on 127.0.0.1, in a thread, and returns its URL."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    runners: list[web.AppRunner] = []

    async def start(handler: Handler) -> str:
        async def handle(request: web.Request) -> web.Response:
            return handler(request)

        app = web.Application()
        app.router.add_get("/{path:.*}", handle)
        runner = web.AppRunner(app)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield lambda handler: asyncio.run_coroutine_threadsafe(start(handler), loop).result()
    for runner in runners:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


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


@pytest.mark.parametrize("setting", [s for s in SETTINGS if s.unit != "secret"], ids=lambda setting: setting.name)
def test_every_setting_is_a_flag(setting: object, capsys: pytest.CaptureFixture[str]) -> None:
    """The help of both servers names each setting that is no secret, with its flag and its variable."""
    for command in ("up", "sidecar"):
        _usage_error(command, "--help")
        shown = capsys.readouterr().out
        assert (True, True) == (f"{setting.flag} " in shown, setting.env in shown)  # type: ignore[attr-defined]


def test_flags_reach_the_sidecar(served: list[Settings]) -> None:
    """A flag of `sidecar` becomes a setting."""
    code = main(["sidecar", "--redis-url", "redis://127.0.0.1:1", "--port", "8888"])

    assert (0, 8888) == (code, served[0].port)


def test_the_environment_reaches_the_sidecar(served: list[Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of the environment becomes a setting."""
    monkeypatch.setenv("SPENDGATE_PORT", "8888")
    main(["sidecar", "--redis-url", "redis://127.0.0.1:1"])

    assert 8888 == served[0].port


def test_a_sidecar_needs_a_store(served: list[Settings], capsys: pytest.CaptureFixture[str]) -> None:
    """Without a Redis URL `sidecar` is wrong usage, and says which variable is missing."""
    code = main(["sidecar"])

    assert (2, True, []) == (code, "SPENDGATE_REDIS_URL" in capsys.readouterr().err, served)


def test_all_faults_of_the_settings_are_told(served: list[Settings], capsys: pytest.CaptureFixture[str]) -> None:
    """Two wrong settings are two lines below a heading."""
    code = main(["sidecar", "--port", "http", "--partitions", "0"])

    assert (2, 3) == (code, len(capsys.readouterr().err.splitlines()))


def test_up_with_a_store_starts_none(served: list[Settings], capsys: pytest.CaptureFixture[str]) -> None:
    """`up` over a named store starts no other, and shows its URL without the password."""
    main(["up", "--no-page", "--redis-url", "redis://:geheim@127.0.0.1:1"])

    assert "Store: redis://:***@127.0.0.1:1 (no embedded one is started)\n" == capsys.readouterr().out


def test_up_serves_over_an_embedded_store(served: list[Settings], tmp_path: Path) -> None:
    """`up` without a store runs the sidecar over a Unix socket below its data directory, and ends the store with it."""
    code = main(["up", "--no-page", "--data-dir", str(tmp_path)])

    path = tmp_path / "store" / "valkey.sock"
    assert (0, f"unix://{path}", False) == (code, served[0].redis_url, path.exists())


def test_up_with_wrong_settings_starts_no_store(served: list[Settings], tmp_path: Path) -> None:
    """Settings are checked before the embedded store is started."""
    code = main(["up", "--data-dir", str(tmp_path), "--port", "http"])

    assert (2, []) == (code, list(tmp_path.iterdir()))


def test_up_with_wrong_settings_of_the_page_starts_no_store(
    served: list[Settings], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor where the page could not be served: beyond loopback it needs a token."""
    code = main(["up", "--data-dir", str(tmp_path), "--control-host", "0.0.0.0"])

    assert (2, [], True) == (code, list(tmp_path.iterdir()), "SPENDGATE_WRITE_TOKEN" in capsys.readouterr().err)


def test_a_seed_and_a_rule_file_exclude_each_other(served: list[Settings], tmp_path: Path) -> None:
    """The sidecar follows one of them."""
    code = main(["up", "--data-dir", str(tmp_path), "--rules", "a.yaml", "--seed", "b.yaml"])

    assert (2, [], []) == (code, list(tmp_path.iterdir()), served)


def test_up_in_kubernetes_is_refused(
    served: list[Settings], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a pod `up` fails without an explicit word, and starts nothing."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    code = main(["up"])

    assert (1, True, []) == (code, "--embedded" in capsys.readouterr().err, served)


def test_refused_rules_stop_the_start(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A sidecar that refuses its rule file fails with every fault."""

    def refuse(_: Settings) -> None:
        raise RuleSetInvalid([("rules[0].key", "is required"), ("rules[1].kind", "is unknown")])

    monkeypatch.setattr(sidecar, "run_sidecar", refuse)
    code = main(["sidecar", "--redis-url", "redis://127.0.0.1:1", "--rules", "b.yaml"])

    expected = "spendgate: the rules of b.yaml are refused:\n  rules[0].key: is required\n  rules[1].kind: is unknown\n"
    assert (1, expected) == (code, capsys.readouterr().err)


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


USAGE = {
    "user_id": "user/42",
    "tier": "pro",
    "at": "2026-01-31T12:00:00Z",
    "open_holds": 1,
    "windows": [
        {"window": "day", "spend_usd": 8.2, "held_usd": 0.5, "calls": 12, "resets_at": "2026-02-01T00:00:00Z"},
    ],
    "budgets": [
        {
            "rule_kind": "tier_template",
            "action": "warn",
            "window": "month",
            "limit_usd": 5,
            "spend_usd": 8.2,
            "remaining_usd": -3.7,
            "percent": 164.0,
            "resets_at": "2026-02-01T00:00:00Z",
        },
        {"rule_kind": "tier_template", "action": "warn", "window": "day", "limit_usd": None, "spend_usd": 8.2},
    ],
}
EXPLANATION = {
    "user_id": "user-42",
    "tier": None,
    "mode": "enforce",
    "plan": "growth",
    "on_store_failure": {"allow_up_to_usd": 0.25},
    "on_unpriced": "deny",
    "rules": [{"kind": "tier_template", "key": "[red]", "limit_usd": 5, "window": "month", "action": "block"}],
    "skipped": [
        {"why": "disabled", "rule": {"kind": "user_override", "key": "user-42", "limit_usd": None, "window": "day"}}
    ],
}


def test_usage_asks_for_the_user(fake_sidecar: Callable[[Handler], str], capsys: pytest.CaptureFixture[str]) -> None:
    """`usage` asks for exactly this user and tier, and `--json` prints what the sidecar answered."""
    asked: list[str] = []

    def answer(request: web.Request) -> web.Response:
        asked.append(request.raw_path)
        return web.json_response(USAGE)

    code = main(["usage", "user/42", "--tier", "pro", "--url", fake_sidecar(answer), "--json"])

    assert (0, ["/v1/usage/user%2F42?tier=pro"], USAGE) == (code, asked, json.loads(capsys.readouterr().out))


@pytest.mark.parametrize("shown", ["$8.20", "$0.5000", "-$3.70", "164.0 %", "unlimited", "user/42, tier pro"])
def test_usage_is_shown_as_a_table(
    fake_sidecar: Callable[[Handler], str], capsys: pytest.CaptureFixture[str], shown: str
) -> None:
    """The tables show spend, holds, limits, what is left, and unlimited budgets in a word."""
    main(["usage", "user/42", "--url", fake_sidecar(lambda _: web.json_response(USAGE))])

    assert shown in capsys.readouterr().out


@pytest.mark.parametrize(
    "shown", ["[red]", "applies", "it is", "disabled", "unlimited", "no tier", "allow up to $0.2500"]
)
def test_explain_shows_why(
    fake_sidecar: Callable[[Handler], str], capsys: pytest.CaptureFixture[str], shown: str
) -> None:
    """The table shows each rule as it is written, whether it applies, and why not."""
    main(["explain", "user-42", "--url", fake_sidecar(lambda _: web.json_response(EXPLANATION))])

    assert shown in capsys.readouterr().out


def test_the_token_is_sent(fake_sidecar: Callable[[Handler], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The token of the environment goes along as a bearer token."""
    sent: list[str | None] = []

    def answer(request: web.Request) -> web.Response:
        sent.append(request.headers.get("Authorization"))
        return web.json_response(USAGE)

    monkeypatch.setenv("SPENDGATE_DECISION_TOKEN", "0123456789abcdef")
    main(["usage", "user-42", "--url", fake_sidecar(answer)])

    assert ["Bearer 0123456789abcdef"] == sent


def test_a_problem_is_told(fake_sidecar: Callable[[Handler], str], capsys: pytest.CaptureFixture[str]) -> None:
    """A problem document's detail is printed, and the exit code is 1."""
    problem = {"code": "store_unavailable", "detail": "Redis did not answer"}
    code = main(["explain", "u", "--url", fake_sidecar(lambda _: web.json_response(problem, status=503))])

    assert (1, "spendgate: the sidecar answered 503: Redis did not answer\n") == (code, capsys.readouterr().err)


def test_no_sidecar_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a sidecar the message says how to start one."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        code = main(["usage", "user-42", "--url", f"http://127.0.0.1:{taken.getsockname()[1]}"])

    assert (1, True) == (code, "start one with `spendgate up`" in capsys.readouterr().err)
