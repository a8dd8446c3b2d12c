"""Which heads are known: those of plain requests that were let in, each for itself, and no more than a bound."""

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from sidecar.api import quick_answers
from sidecar.api.quick_answers import QuickAnswers
from tests.support.edge import Edge, running_edge
from tests.support.raw_caller import CHECK, DEADLINE_S, Caller, check, post


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
