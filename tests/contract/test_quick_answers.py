"""Requests with a known head: answered like any other, in order, however they arrive, whatever else comes between."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgpack
import orjson
import pytest
import pytest_asyncio

from ledger.errors import StoreUnavailable
from sidecar.api import connection, quick_answers
from sidecar.api.quick_answers import KnownHead, QuickAnswers
from tests.support.edge import Edge, running_edge
from tests.support.raw_caller import CHECK, DEADLINE_S, Answer, Caller, check, post, until_some


@pytest_asyncio.fixture(loop_scope="function")
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    """An edge with a bound of bodies."""
    async with running_edge(tmp_path, max_body_bytes=262_144) as running:
        yield running


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Lists the bodies that were answered without aiohttp."""
    bodies: list[bytes] = []
    start = QuickAnswers.start

    def counted(self: QuickAnswers, known: KnownHead, body: bytes, write: Callable[[bytes], None]) -> bool:
        is_answered = start(self, known, body, write)
        bodies.extend([body] * is_answered)
        return is_answered

    monkeypatch.setattr(QuickAnswers, "start", counted)
    return bodies


@pytest_asyncio.fixture(loop_scope="function")
async def caller(edge: Edge) -> AsyncIterator[Caller]:
    """A connection to the edge."""
    opened = await Caller.open(edge)
    yield opened
    await opened.close()


LIFE = [
    ("reserve", {"user_id": "alice", "request_id": "r-{}", "estimate_usd": 1}),
    ("extend", {"user_id": "alice", "request_id": "r-{}", "ttl_s": 60}),
    ("settle", {"user_id": "alice", "request_id": "r-{}", "cost_usd": "0.5"}),
    ("release", {"user_id": "alice", "request_id": "r-{}"}),
    (
        "check",
        {"user_id": "alice", "request_id": "c-{}", "usage": {"model": "gpt-5", "input_tokens": 9, "output_tokens": 9}},
    ),
]


def _lives(number: int) -> list[tuple[str, str]]:
    return [(name, orjson.dumps(body).decode().replace("{}", str(number))) for name, body in LIFE]


@pytest.mark.parametrize("is_msgpack", [False, True])
async def test_every_operation_is_answered_as_before(caller: Caller, quick: list[bytes], is_msgpack: bool) -> None:
    """Decisions, settlements and problems, in both formats, but for the numbers that count up."""
    headers = ["Content-Type: application/msgpack"] if is_msgpack else []
    seen: list[list[Answer]] = []
    for number in range(2):
        texts = _lives(number)
        bodies = [msgpack.packb(orjson.loads(text)) if is_msgpack else text.encode() for _, text in texts]
        requests = [post(name, None, *headers, raw=body) for (name, _), body in zip(texts, bodies, strict=True)]
        seen.append([(await caller.ask(request))[0] for request in requests])
    statuses = [[status for status, _, _ in answers] for answers in seen]
    assert [[200, 200, 200, 409, 200]] * 2 == statuses
    for first, second in zip(*seen, strict=True):
        assert first[:2] == second[:2]
        assert first[2].keys() == second[2].keys()
    assert 4 == len(quick), "the release was refused and so its head is not known"


async def test_requests_in_one_segment_are_answered_in_order(caller: Caller, quick: list[bytes]) -> None:
    """Pipelined: each waits for the answers before it."""
    await caller.ask(check(0))
    answers = await caller.ask(*[check(number) for number in range(1, 30)])
    assert [f"c-{number:06}" for number in range(1, 30)] == [answer["request_id"] for _, _, answer in answers]
    assert 29 == len(quick)


async def test_a_request_in_pieces_is_put_together(caller: Caller, edge: Edge, quick: list[bytes]) -> None:
    """A body that follows its head is waited for; a head in pieces is aiohttp's, and the next one is quick again."""
    await caller.ask(check(0))
    for number, cut in ((1, 40), (2, len(check(0)) - 5), (3, len(check(0)) - len(orjson.dumps(CHECK)) - 20)):
        request = check(number)
        caller.writer.write(request[:cut])
        await until_some(edge, lambda each, size=cut: size in (len(each._held), len(each._given or b"")))
        caller.writer.write(request[cut:])
        assert f"c-{number:06}" == (await caller.answer())[2]["request_id"]
    await caller.ask(check(4))
    assert [f"c-{number:06}" for number in (2, 3, 4)] == [orjson.loads(body)["request_id"] for body in quick]


async def test_an_answer_waits_for_those_before_it(caller: Caller, edge: Edge, quick: list[bytes]) -> None:
    """A settle that comes while a check is under way is answered after it, although the store would be faster."""
    for number in range(2):
        await caller.ask(*[post(name, orjson.loads(body)) for name, body in _lives(number)[:1]])
    settles = [post("settle", {"user_id": "alice", "request_id": f"r-{number}", "cost_usd": 1}) for number in range(2)]
    await caller.ask(settles[0])
    await caller.ask(check(0))
    edge.ledger.gate.close()
    caller.writer.write(check(1))
    await edge.ledger.gate.until_arrived(1)
    caller.writer.write(settles[1])
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(caller.reader.readexactly(1), 0.1)
    edge.ledger.gate.open()
    assert ["c-000001", "r-1"] == [(await caller.answer())[2]["request_id"] for _ in range(2)]
    assert 3 == len(quick)


async def test_what_only_looks_like_a_request_is_none(caller: Caller, edge: Edge, quick: list[bytes]) -> None:
    """A piece of a body, or of a head, that is a known request byte for byte is still a piece: nothing is charged."""
    await caller.ask(check(0))
    outer = post("check", None, raw=b" " * 20 + check(1))
    cut = len(outer) - len(check(1))
    caller.writer.write(outer[:cut])
    await until_some(edge, lambda each: len(each._given or b"") == cut)
    caller.writer.write(outer[cut:])
    assert 400 == (await caller.answer())[0]
    begun = b"POST /v1/check HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Piece: "
    assert 0.5 == (await caller.ask(check(2) + begun))[0][2]["spend_usd"]
    caller.writer.write(check(3))
    assert (await asyncio.wait_for(caller.reader.readuntil(b"\r\n"), DEADLINE_S)).startswith(
        (b"HTTP/1.0 400", b"HTTP/1.1 400")
    )
    assert 1 == len(quick)


async def test_a_wrong_body_under_a_known_head_is_a_problem(caller: Caller, quick: list[bytes]) -> None:
    """It names the field, nothing is charged, and the connection goes on."""
    await caller.ask(check(0))
    wrong = check(1).replace(b'"cost_usd":0.25', b'"cost_usd":-.25')
    negative = check(1).replace(b'"cost_usd":0.25', b'"cost_usd":-2.5')
    answers = await caller.ask(wrong) + await caller.ask(negative) + await caller.ask(check(2))
    assert [(400, "invalid_body"), (400, "invalid_field")] == [
        (status, answer["code"]) for status, _, answer in answers[:2]
    ]
    assert 0.5 == answers[2][2]["spend_usd"]
    assert 1 == len(quick)


async def test_problems_of_the_ledger_are_told_as_before(caller: Caller, edge: Edge, quick: list[bytes]) -> None:
    """Another body under a known id, by aiohttp's way and by the quick one; and both are counted."""
    await caller.ask(check(0))
    quickly = (await caller.ask(check(0, cost_usd=0.75)))[0]
    generally = (await caller.ask(post("check", {**CHECK, "request_id": "c-000000", "cost_usd": 0.75}, "X-Other: 1")))[
        0
    ]
    assert quickly == generally
    assert 422 == quickly[0]
    assert 1 == len(quick)
    async with edge.session.get(f"{edge.admin_url}/metrics") as response:
        assert 'spendgate_problems_total{code="request_mismatch"} 2.0' in await response.text()


async def test_without_the_store_the_rules_answer(caller: Caller, edge: Edge, quick: list[bytes]) -> None:
    """Degraded decisions, accepted settles, and refused extends."""
    reserve = post("reserve", {"user_id": "alice", "request_id": "r-1", "estimate_usd": 1})
    settle = post("settle", {"user_id": "alice", "request_id": "r-1", "cost_usd": 1})
    await caller.ask(check(0))
    for request in (reserve, post("extend", {"user_id": "alice", "request_id": "r-1"}), settle):
        await caller.ask(request)
    edge.ledger.failure = StoreUnavailable("gone")
    degraded = await caller.ask(check(1), settle, post("extend", {"user_id": "alice", "request_id": "r-1"}))
    assert [(200, True), (200, True), (503, None)] == [(code, body.get("degraded")) for code, _, body in degraded]
    assert 3 == len(quick)


async def test_another_head_is_checked_for_itself(tmp_path: Path, quick: list[bytes]) -> None:
    """A token that is missing, a page in a browser, and a foreign host are refused on a connection that was let in."""
    async with running_edge(tmp_path, decision_token="decision-token-of-a-test") as edge:
        caller = await Caller.open(edge)
        token = "Authorization: Bearer decision-token-of-a-test"
        body = {**CHECK, "request_id": "c-1"}
        for _ in range(2):
            assert 200 == (await caller.ask(post("check", body, token)))[0][0]
        assert 1 == len(quick)
        refused = [
            post("check", body),
            post("check", body, token.replace("-test", "-tesT")),
            post("check", body, token, "Origin: http://localhost"),
            post("check", body, token).replace(b"Host: 127.0.0.1", b"Host: evil.test"),
        ]
        for _ in range(2):
            assert [401, 401, 403, 421] == [(await caller.ask(request))[0][0] for request in refused]
        assert 1 == len(quick)
        await caller.close()


@pytest.mark.parametrize(
    "header", ["Connection: close", "Content-Encoding: identity", "Expect: 100-continue", "Upgrade: websocket"]
)
async def test_an_unusual_head_is_never_known(edge: Edge, quick: list[bytes], header: str) -> None:
    """What changes how a body is read, or what comes after, stays aiohttp's."""
    for _ in range(3):
        caller = await Caller.open(edge)
        caller.writer.write(post("check", CHECK, header))
        answer = await asyncio.wait_for(caller.reader.readuntil(b"\r\n\r\n"), DEADLINE_S)
        assert answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 100", b"HTTP/1.1 400")), answer
        await caller.close()
    assert [] == quick


async def test_old_http_and_chunks_are_aiohttps(edge: Edge, caller: Caller, quick: list[bytes]) -> None:
    """After a chunked body nobody here knows where the next request begins, so that connection stays a plain one."""
    chunked = post("check", None, "Transfer-Encoding: chunked", raw=b"").replace(b"Content-Length: 0\r\n", b"")
    body = orjson.dumps(CHECK)
    await caller.ask(check(0))
    await caller.ask(chunked + f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n")
    assert [200, 200] == [(await caller.ask(check(number)))[0][0] for number in (1, 2)]
    assert [] == quick
    old = await Caller.open(edge)
    old.writer.write(check(3).replace(b"HTTP/1.1", b"HTTP/1.0"))
    assert 200 == (await old.answer())[0]
    await old.close()


async def test_a_caller_that_has_gone_is_charged_all_the_same(
    edge: Edge, caller: Caller, quick: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """As by the general way: the decision was made; only its answer has nowhere to go."""
    await caller.ask(check(0))
    edge.ledger.gate.close()
    gone = await Caller.open(edge)
    gone.writer.write(check(1))
    await edge.ledger.gate.until_arrived(1)
    await gone.close()
    await until_some(edge, lambda each: each.transport is None)
    edge.ledger.gate.open()
    assert 0.75 == (await caller.ask(check(2)))[0][2]["spend_usd"]
    assert 2 == len(quick)
    assert [] == [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_stop_lets_what_is_under_way_be_answered(tmp_path: Path, quick: list[bytes]) -> None:
    """The answer arrives, then the connection is closed."""
    async with running_edge(tmp_path) as edge:
        caller = await Caller.open(edge)
        await caller.ask(check(0))
        edge.ledger.gate.close()
        caller.writer.write(check(1) + check(2))
        await edge.ledger.gate.until_arrived(1)
        stopping = asyncio.create_task(edge.listeners.close())
        await asyncio.sleep(0)
        edge.ledger.gate.open()
        assert "c-000001" == (await caller.answer())[2]["request_id"]
        assert b"" == await asyncio.wait_for(caller.reader.read(), DEADLINE_S)
        await stopping
        await caller.close()
    assert 1 == len(quick)


async def test_a_caller_that_does_not_read_is_not_read_either(tmp_path: Path, quick: list[bytes]) -> None:
    """Answers that nobody takes do not pile up: it goes on once they are taken, and none is lost."""
    path = tmp_path / "socket"
    async with running_edge(tmp_path, unix_socket=path) as edge:
        caller = Caller(*await asyncio.open_unix_connection(str(path)))
        await caller.ask(check(0))
        caller.writer.transport.pause_reading()  # type: ignore[attr-defined]
        requests = 600  # More answers than the kernel's buffer and the transport's hold; in one piece.
        caller.writer.write(b"".join(check(number) for number in range(requests)))
        await until_some(edge, lambda each: each._draining is not None)
        assert 0 < len(quick) < requests
        caller.writer.transport.resume_reading()  # type: ignore[attr-defined]
        answers = [await caller.answer() for _ in range(requests)]
        assert [f"c-{number:06}" for number in range(requests)] == [answer["request_id"] for _, _, answer in answers]
        assert requests == len(quick)
        await caller.close()


async def test_heads_are_bounded(caller: Caller, monkeypatch: pytest.MonkeyPatch, quick: list[bytes]) -> None:
    """A header that is new with every call costs no memory, and long heads are not kept."""
    monkeypatch.setattr(quick_answers, "MAX_HEADS", 4)
    known: list[int] = []
    learn = QuickAnswers.learn

    def watched(self: QuickAnswers, head: bytes, request: Any) -> None:
        learn(self, head, request)
        known.append(len(self._heads))

    monkeypatch.setattr(QuickAnswers, "learn", watched)
    for number in range(10):
        await caller.ask(post("check", CHECK, f"X-Trace: {number}"))
    for _ in range(2):
        await caller.ask(post("check", CHECK, f"X-Long: {'x' * quick_answers.MAX_HEAD_BYTES}"))
    assert 4 == max(known)
    assert [] == quick


async def test_a_head_in_use_stays_known(caller: Caller, monkeypatch: pytest.MonkeyPatch, quick: list[bytes]) -> None:
    """Callers with a new header each time push out each other's heads, not one that is asked with all the while."""
    monkeypatch.setattr(quick_answers, "MAX_HEADS", 4)
    await caller.ask(check(0))
    for number in range(1, 11):
        await caller.ask(check(number))
        await caller.ask(post("check", CHECK, f"X-Trace: {number}"))
    assert 10 == len(quick)


async def test_a_long_request_makes_a_plain_connection(caller: Caller, quick: list[bytes]) -> None:
    """What aiohttp was given is remembered up to a bound; beyond it the connection is aiohttp's for good."""
    padding = " " * connection.MAX_REMEMBERED_BYTES
    await caller.ask(check(0), check(1))
    assert 200 == (await caller.ask(post("check", None, raw=orjson.dumps(CHECK) + padding.encode())))[0][0]
    assert 200 == (await caller.ask(check(2)))[0][0]
    assert [] == quick


async def test_any_requests_cut_anywhere_are_answered_in_order(edge: Edge, quick: list[bytes]) -> None:
    """Known and unknown heads, reads, wrong bodies, at random, in pieces at random; a failure shows the seed."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    numbers = iter(chance.sample(range(1, 10**6), 12 * 20 * 3))  # None twice: a check's id is no hold's.
    kinds: list[tuple[int, Callable[[int], bytes]]] = [
        (200, check),
        (200, check),
        (200, lambda number: post("check", {**CHECK, "request_id": f"c-{number:06}"}, f"X-Trace: {number}")),
        (400, lambda number: check(number).replace(b"0.25", b"-0.2")),
        (200, lambda _number: b"GET /v1/usage/carol HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (404, lambda number: post("extend", {"user_id": "carol", "request_id": f"c-{number:06}"})),
    ]
    for _ in range(12):
        caller = await Caller.open(edge)
        await caller.ask(check(0))
        for _ in range(20):
            chosen = [chance.choice(kinds) for _ in range(chance.choice((1, 1, 1, 2, 3)))]
            data = b"".join(make(next(numbers)) for _, make in chosen)
            reading = asyncio.create_task(_read(caller, len(chosen)))
            while data:
                size = chance.choice((1, 60, 250, 1000, 1000))
                caller.writer.write(data[:size])
                data = data[size:]
                await asyncio.sleep(0)
            assert [status for status, _ in chosen] == await reading, seed
        await caller.close()
    assert quick


async def _read(caller: Caller, number: int) -> list[int]:
    return [(await caller.answer())[0] for _ in range(number)]


async def test_what_lies_before_a_request_is_never_part_of_its_head(tmp_path: Path, quick: list[bytes]) -> None:
    """Empty lines before a request that is refused before its body is whole: where the next begins is not known."""
    async with running_edge(tmp_path, decision_token="decision-token-of-a-test") as edge:
        refused = post("check", None, raw=b"x" * 1000)
        asked = post("check", CHECK, "Authorization: Bearer decision-token-of-a-test")
        rest = b"x" * (len(refused) - 1000)
        caller = await Caller.open(edge)
        caller.writer.write(b"\r\n\r\n" + refused.removesuffix(rest))
        assert 401 == (await caller.answer())[0]
        assert 200 == (await caller.ask(rest + asked))[0][0]
        await caller.close()
        other = await Caller.open(edge)
        assert 200 == (await other.ask(asked))[0][0]
        other.writer.write(rest + asked)
        assert b"HTTP/1.0 400" == (await asyncio.wait_for(other.reader.readuntil(b" Bad"), DEADLINE_S))[:12]
        await other.close()
    assert [] == quick


async def test_a_fault_in_counting_is_not_the_callers(
    caller: Caller, edge: Edge, monkeypatch: pytest.MonkeyPatch, quick: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """What the store has decided is told before it is counted; the fault is in the log."""

    def fail(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    reserve = post("reserve", {"user_id": "alice", "request_id": "r-1", "estimate_usd": 1})
    settle = post("settle", {"user_id": "alice", "request_id": "r-1", "cost_usd": 1})
    for request in (check(0), reserve, settle):
        await caller.ask(request)
    monkeypatch.setattr(edge.enforcer._metrics, "record_decision", fail)
    monkeypatch.setattr(edge.enforcer._metrics, "record_settlement", fail)
    assert [200, 200, 200] == [status for status, _, _ in await caller.ask(check(1), reserve, settle)]
    assert 3 == len(quick)
    assert 3 == caplog.text.count("RuntimeError: a fault of ours")


async def test_an_error_of_ours_is_told(
    caller: Caller, edge: Edge, monkeypatch: pytest.MonkeyPatch, quick: list[bytes]
) -> None:
    """Before the store is asked or after it has answered: 500, not a connection that waits for ever."""

    def fail(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    reserve = post("reserve", {"user_id": "alice", "request_id": "r-1", "estimate_usd": 1})
    settle = post("settle", {"user_id": "alice", "request_id": "r-1", "cost_usd": 1})
    await caller.ask(check(0))
    await caller.ask(reserve)
    await caller.ask(settle)
    with monkeypatch.context() as broken:
        broken.setattr(quick_answers, "encode_answer", fail)
        assert [500, 500, 500] == [status for status, _, _ in await caller.ask(check(1), reserve, settle)]
    assert 3 == len(quick)
    with monkeypatch.context() as broken:
        broken.setattr(quick_answers, "decode_request", fail)
        caller.writer.write(check(2) + check(3))
        assert [200, 200] == [(await caller.answer())[0] for _ in range(2)]
