"""`usage` and `explain` ask a sidecar and show what it says."""

import asyncio
import json
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import web

from cli.main import main

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
