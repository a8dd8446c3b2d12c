"""`transport="stream"`: what HTTP does, over one connection. What breaks is repeated, no answer goes astray."""

import asyncio
import random
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import trustme
from spendgate import (
    AsyncSpendgate,
    Decision,
    LLMBudgetExceededError,
    Spendgate,
    SpendgateRequestError,
    SpendgateUnavailableError,
    _async_stream_connection,
    _stream_connection,
)
from spendgate._stream_wire import MAX_FRAME_BYTES

from tests.support.processes import template, write_rules
from tests.support.sdk_gates import TIMEOUT_S, eventually
from tests.support.service_thread import sidecar_in_a_thread
from tests.support.stream_server import (
    Act,
    StreamServer,
    answer,
    answer_after_a_pong,
    answer_and_close,
    answer_and_ping,
    cut,
    drop,
    find_it_too_big,
    first_alone,
    ignore,
    last_first,
    stop,
    stream_server,
    talk_nonsense,
)

SHORT_S = 0.2


@pytest.fixture
def server() -> Iterator[StreamServer]:
    """A server that a test tells how to misbehave."""
    with stream_server() as server:
        yield server


def ask(
    kind: str, url: str, *, calls: int = 1, between: Callable[[], None] = lambda: None, **options: Any
) -> list[Decision]:
    """Check so many times with a client of either kind, one after the other."""
    with_stream: dict[str, Any] = {"transport": "stream", "timeout_s": TIMEOUT_S, **options}
    decisions = []
    if kind == "blocking":
        with Spendgate(url, **with_stream) as gate:
            for _ in range(calls):
                decisions.append(gate.check("user-1", cost_usd="0.1"))
                between()
        return decisions

    async def awaiting() -> list[Decision]:
        async with AsyncSpendgate(url, **with_stream) as gate:
            for _ in range(calls):
                decisions.append(await gate.check("user-1", cost_usd="0.1"))
                await asyncio.to_thread(between)
        return decisions

    return asyncio.run(awaiting())


both = pytest.mark.parametrize("kind", ["blocking", "awaiting"])


@both
@pytest.mark.parametrize("act", [drop, cut, talk_nonsense, stop], ids=lambda act: act.__name__)
def test_what_breaks_is_repeated_once_under_its_id(server: StreamServer, kind: str, act: Act) -> None:
    """On a new connection; the caller does not notice, and nothing is charged twice."""
    server.acts = [act]

    assert ask(kind, server.url)[0].allowed

    assert 2 == len(server.asked) == server.connections
    assert server.asked[0][2]["request_id"] == server.asked[1][2]["request_id"]
    assert "0.1" == server.sidecar.spend_usd("user-1")


@both
@pytest.mark.parametrize("act", [drop, cut, talk_nonsense], ids=lambda act: act.__name__)
def test_it_is_not_repeated_for_ever(server: StreamServer, kind: str, act: Act) -> None:
    """What breaks every time is no sidecar: the failure policy decides."""
    server.acts = [act] * 2

    with pytest.raises(SpendgateUnavailableError):
        ask(kind, server.url)

    assert 2 == len(server.asked)


@both
def test_a_silent_connection_is_given_up(server: StreamServer, kind: str) -> None:
    """An answer that does not come is no answer; the next call does not wait on the same connection."""
    server.acts = [ignore]

    decisions = ask(kind, server.url, timeout_s=SHORT_S, calls=1, fail="open")
    assert [True] == [decision.degraded for decision in decisions]

    server.acts = [ignore]
    with Spendgate(server.url, timeout_s=SHORT_S, transport="stream", fail="open") as gate:
        assert gate.check("user-2", cost_usd="0.1").degraded
        connection = gate._engine._transport._connection  # type: ignore[attr-defined]
        assert connection is None or not connection.is_usable()


def test_threads_get_their_own_answers(server: StreamServer) -> None:
    """Sixteen threads share a connection; the answers come in the opposite order."""
    server.acts = [last_first(16)]
    with Spendgate(server.url, timeout_s=TIMEOUT_S, transport="stream") as gate, ThreadPoolExecutor(16) as pool:
        users = [f"user-{number}" for number in range(16)]
        answered = list(pool.map(lambda user: gate.check(user, cost_usd="0.1").user_id, users))

    assert (users, 1) == (answered, server.connections)


def test_reading_is_handed_over(server: StreamServer) -> None:
    """The thread that reads for both goes away with its own answer; the other one reads on."""
    later = threading.Event()
    server.acts = [first_alone(later)]
    with Spendgate(server.url, timeout_s=TIMEOUT_S, transport="stream") as gate, ThreadPoolExecutor(2) as pool:
        first = pool.submit(gate.check, "user-1", cost_usd="0.1")
        eventually(lambda: len(server.asked) == 1)
        second = pool.submit(gate.check, "user-2", cost_usd="0.1")
        try:
            assert "user-1" == first.result().user_id
        finally:
            later.set()

        assert "user-2" == second.result().user_id


def test_an_interrupted_caller_ends_the_connection(server: StreamServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it had read is gone, so nothing that follows can be trusted; the next call opens another one."""
    with Spendgate(server.url, timeout_s=TIMEOUT_S, transport="stream") as gate:
        gate.check("user-1", cost_usd="0.1")
        connection = gate._engine._transport._connection  # type: ignore[attr-defined]
        read = connection._read

        def interrupted(deadline_s: float) -> bytes:
            read(deadline_s)
            raise KeyboardInterrupt

        monkeypatch.setattr(connection, "_read", interrupted)
        with pytest.raises(KeyboardInterrupt):
            gate.check("user-2", cost_usd="0.1")

        assert ("user-3", 2) == (gate.check("user-3", cost_usd="0.1").user_id, server.connections)


async def test_what_is_cancelled_changes_no_other_answer(server: StreamServer) -> None:
    """A third of a hundred callers goes away before the answers come, in the opposite order."""
    server.acts = [last_first(101)]
    gone = random.Random(6).sample(range(100), 33)
    async with AsyncSpendgate(server.url, timeout_s=TIMEOUT_S, transport="stream") as gate:
        tasks = [asyncio.create_task(gate.check(f"user-{number}", cost_usd="0.1")) for number in range(100)]
        await asyncio.to_thread(eventually, lambda: len(server.asked) == 100)
        for number in gone:
            tasks[number].cancel()
        assert "user-100" == (await gate.check("user-100", cost_usd="0.1")).user_id
        answers = await asyncio.gather(*tasks, return_exceptions=True)

    stayed = {number: answer.user_id for number, answer in enumerate(answers) if isinstance(answer, Decision)}
    assert {number: f"user-{number}" for number in range(100) if number not in gone} == stayed
    assert 1 == server.connections


async def test_what_is_asked_at_once_leaves_in_few_frames(server: StreamServer) -> None:
    """A hundred operations of one turn of the loop share frames, and the frames are bounded."""
    async with AsyncSpendgate(server.url, timeout_s=TIMEOUT_S, transport="stream") as gate:
        await gate.check("user-0", cost_usd=0)
        await asyncio.gather(*(gate.check("user-1", cost_usd=0) for _ in range(100)))
        few = server.frames - 1
        big = {"note": "x" * (MAX_FRAME_BYTES // 3)}
        await asyncio.gather(*(gate.check("user-1", cost_usd=0, meta=big) for _ in range(10)))

    assert 1 <= few <= 2
    assert 5 == server.frames - few - 1


async def test_operations_in_flight_are_bounded(server: StreamServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is beyond the bound is not sent before some are answered."""
    monkeypatch.setattr(_async_stream_connection, "MAX_IN_FLIGHT", 8)
    server.acts = [last_first(8)]
    async with AsyncSpendgate(server.url, timeout_s=TIMEOUT_S, transport="stream") as gate:
        answers = await asyncio.gather(*(gate.check(f"user-{number}", cost_usd=0) for number in range(20)))

    assert (20, 8) == (len(answers), len(server.held_back))


def test_threads_wait_for_room_within_the_timeout(server: StreamServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is none, nothing is sent."""
    monkeypatch.setattr(_stream_connection, "MAX_IN_FLIGHT", 0)

    with pytest.raises(SpendgateUnavailableError):
        ask("blocking", server.url, timeout_s=SHORT_S)

    assert [] == server.asked


@both
def test_a_frame_that_is_too_big_goes_over_http(
    server: StreamServer, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A sidecar with a small bound is served all the same; here nothing answers over HTTP, so the policy decides."""
    server.acts = [find_it_too_big]

    assert ask(kind, server.url, fail="open")[0].degraded

    assert "operations go over HTTP" in caplog.text


@both
def test_an_end_is_heard_while_idle(server: StreamServer, kind: str) -> None:
    """A connection that was closed while nobody called is opened anew; nothing is sent twice."""
    server.acts = [answer_and_close]

    decisions = ask(kind, server.url, calls=2, between=lambda: eventually(lambda: server.is_closed))

    assert [True, True] == [decision.allowed for decision in decisions]
    assert (2, 2) == (server.connections, len(server.asked))


@both
@pytest.mark.parametrize("act", [answer_after_a_pong, answer_and_ping], ids=lambda act: act.__name__)
def test_a_ping_is_answered(server: StreamServer, kind: str, act: Act) -> None:
    """At once where a loop runs or a thread waits; else by the next call, on the same connection."""
    server.acts = [act]

    ask(kind, server.url, calls=2)

    eventually(lambda: server.pongs == 1)
    assert 1 == server.connections


@pytest.fixture(scope="module")
def guarded(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A sidecar that wants a token."""
    directory = tmp_path_factory.mktemp("guarded")
    rules = write_rules(directory / "rules.json", template("free", 1))
    with sidecar_in_a_thread(
        directory, valkey_url, rules=rules, workspace="sdk-stream", decision_token="t" * 32
    ) as serving:
        yield serving.decision_url


@both
def test_a_refused_stream_is_told_as_over_http(guarded: str, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """A wrong token is the same error, and a right one works."""
    with pytest.raises(SpendgateRequestError) as caught:
        ask(kind, guarded, token="wrong")

    assert 401 == caught.value.status
    assert "the stream was refused (status 401)" in caplog.text
    assert ask(kind, guarded, token="t" * 32)[0].allowed


@both
def test_a_sidecar_without_room_for_a_stream_is_asked_over_http(
    url: str, user: str, kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning, and every operation is answered."""
    monkeypatch.setattr("sidecar.api.stream.MAX_STREAMS", 0)

    assert [True] * 3 == [decision.allowed for decision in ask(kind, url, calls=3)]
    assert 1 == caplog.text.count("operations go over HTTP")


@both
@pytest.mark.parametrize("scheme", ["tcp", "unix"])
def test_nobody_is_there(kind: str, scheme: str, tmp_path: Path) -> None:
    """It is told at once, and leaves no socket behind."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        free = f"http://127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(SpendgateUnavailableError, match="cannot be reached"):
            ask(kind, free if scheme == "tcp" else f"unix://{tmp_path}/s")


@both
def test_it_goes_over_tls(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With certificates that are trusted; answers in many pieces arrive whole, and an end is heard."""
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    with stream_server(answer, drop, tls=tls) as server:
        with pytest.raises(SpendgateUnavailableError, match="certificate"):
            ask(kind, server.url)
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

        assert [True] * 3 == [decision.allowed for decision in ask(kind, server.url, calls=3)]
        assert (2, 4) == (server.connections, len(server.asked))


def test_the_answer_is_that_of_http(url: str, user: str) -> None:
    """Every field, to the last digit: a decision, a settlement, a block, and what is wrong."""
    told: list[object] = []
    for transport in ("http", "stream"):
        with Spendgate(url, timeout_s=TIMEOUT_S, tier="free", transport=transport) as gate:  # type: ignore[arg-type]
            told.append(replace(gate.check(user, cost_usd="0.123456789", request_id="call-1"), replayed=True))
            hold = gate.reserve(user, estimate_usd="0.000000001", request_id="call-2")
            told.append(replace(hold.decision, replayed=True))
            with pytest.raises(LLMBudgetExceededError) as refusal:
                gate.check(user, cost_usd="0.9")
            told.append(replace(refusal.value.decision, request_id=""))
            with pytest.raises(SpendgateRequestError) as wrong:
                gate.check(user, cost_usd=1, tier="*")
            told.append(vars(wrong.value))

    assert told[:4] == told[4:]
    assert Decimal("0.123456789") == told[0].spend_usd  # type: ignore[attr-defined]


def test_what_no_frame_holds_is_told_by_http(url: str, user: str) -> None:
    """A number beyond 64 bits, text that is no Unicode: the sidecar says what is wrong with them."""
    with Spendgate(url, timeout_s=TIMEOUT_S, transport="stream") as gate:
        for wrong in ({"ttl_s": 2**70}, {"tier": "\ud800"}):
            with pytest.raises(SpendgateRequestError):
                gate.reserve(user, estimate_usd=1, **wrong)  # type: ignore[arg-type]


def test_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its packages are an extra."""
    for module in ("_stream", "_stream_wire", "_stream_connection"):
        monkeypatch.delitem(sys.modules, f"spendgate.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "websockets", None)
    monkeypatch.setitem(sys.modules, "websockets.client", None)

    with pytest.raises(ModuleNotFoundError, match=r"spendgate\[stream\]"):
        Spendgate(transport="stream")


def test_a_typo_is_refused() -> None:
    """Not silently something else."""
    with pytest.raises(ValueError, match="transport"):
        Spendgate(transport="strean")  # type: ignore[arg-type]
