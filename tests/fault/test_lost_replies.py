"""Replies that never arrive: swallowed, cut in the middle, or for callers who have gone. Each id is charged once."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from itertools import count
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from ledger.connection import StoreTimeouts, connect
from ledger.script_connection import ScriptConnection
from tests.support.apps import Answer, ask, open_session
from tests.support.books import new_workspace, read_books
from tests.support.processes import SidecarProcess, running_sidecar, template, write_rules
from tests.support.store_proxy import Fate, StoreProxy, cut_in_the_middle, deliver, swallow

CALLS: Final = 150
AT_A_TIME: Final = 15
LOST_EVERY: Final = 3
WORDS: Final = 300
WITHIN_S: Final = 60.0
TIMEOUTS: Final = {"deadline_ms": 150, "command_timeout_ms": 60, "breaker_failure_pct": 100}


def losing(fate: Fate) -> Fate:
    """Return a fate that meets every third reply of a script; the others, and those to a greeting, arrive."""
    numbers = count(1)

    def meet(reply: bytes) -> bytes | None:
        is_lost = reply.startswith(b"*") and next(numbers) % LOST_EVERY == 0
        return fate(reply) if is_lost else reply

    return meet


@pytest.fixture
def workspace() -> str:
    """Return a workspace of its own."""
    return new_workspace()


@pytest.fixture
async def proxy(valkey_url: str) -> AsyncIterator[StoreProxy]:
    """Run a proxy in front of the store."""
    async with StoreProxy(valkey_url).running() as running:
        yield running


@pytest.fixture
async def sidecar(tmp_path: Path, proxy: StoreProxy, workspace: str) -> AsyncIterator[SidecarProcess]:
    """Run an impatient sidecar behind the proxy, with limits that nobody reaches; it is stopped off this loop."""
    rules = write_rules(tmp_path / "rules.yaml", template("free", 1000))
    manager = running_sidecar(tmp_path, proxy.url, rules, workspace=workspace, **TIMEOUTS)
    running = await asyncio.to_thread(manager.__enter__)
    try:
        yield running
    finally:
        await asyncio.to_thread(manager.__exit__, None, None, None)


def _user(number: int) -> str:
    return f"user-{number}"


def _cost_nanos(number: int) -> int:
    """Return what this user's only call costs: nobody else's costs the same, so a spend tells whose it is."""
    return 1_000_000 + number


def _usd(nanos: int) -> float:
    return nanos / 1_000_000_000


async def _insist(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> list[Answer]:
    """Repeat a call under its own id until the ledger answers; returns all answers, the ledger's last."""
    answers: list[Answer] = []
    deadline = time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        answers.append(await ask(session, url, body))
        if answers[-1].is_exact:
            return answers
    raise AssertionError(f"never answered exactly: {body}")


async def _for_all(one: Callable[[int], Any], numbers: range) -> list[Any]:
    results: list[Any] = []
    for start in range(0, len(numbers), AT_A_TIME):
        results += await asyncio.gather(*[one(number) for number in numbers[start : start + AT_A_TIME]])
    return results


async def _spends(valkey_url: str, workspace: str) -> dict[str, int]:
    """Return each user's monthly spend; the audit must be clean."""
    books = await read_books(valkey_url, workspace)
    assert [] == books.report.differences
    users = {user for _, user in books.snapshot.counters}
    return {user: books.spend(user)["month"] for user in users}


@pytest.mark.parametrize("fate", [swallow, cut_in_the_middle])
async def test_a_repeated_check_is_charged_once(
    sidecar: SidecarProcess, proxy: StoreProxy, valkey_url: str, workspace: str, fate: Fate
) -> None:
    """A check whose reply was lost has charged, its repeat does not; catches client retries and unrecorded checks."""

    async def check(number: int) -> list[Answer]:
        body = {"request_id": "call", "user_id": _user(number), "tier": "free", "cost_usd": _usd(_cost_nanos(number))}
        return await _insist(session, f"{sidecar.url}/v1/check", body)

    async with open_session() as session:
        proxy.fate = losing(fate)
        answers = await _for_all(check, range(CALLS))
        proxy.fate = deliver

    assert {_user(number): _cost_nanos(number) for number in range(CALLS)} == await _spends(valkey_url, workspace)
    assert any(each[-1].document["replayed"] for each in answers)


@pytest.mark.parametrize("fate", [swallow, cut_in_the_middle])
async def test_a_repeated_settle_is_charged_once(
    sidecar: SidecarProcess, proxy: StoreProxy, valkey_url: str, workspace: str, fate: Fate
) -> None:
    """A hold whose replies were lost holds once and is settled once; catches holds that leak and double settles."""

    async def pair(number: int) -> None:
        owner = {"request_id": "call", "user_id": _user(number)}
        await _insist(session, f"{sidecar.url}/v1/reserve", {**owner, "tier": "free", "estimate_usd": 1})
        settle = {**owner, "cost_usd": _usd(_cost_nanos(number))}
        async with asyncio.timeout(WITHIN_S):
            # Answered by the store, or kept in the journal: by a disk that is busy not always in time.
            while 200 != (await ask(session, f"{sidecar.url}/v1/settle", settle)).status:
                pass

    async with open_session() as session:
        proxy.fate = losing(fate)
        await _for_all(pair, range(CALLS // 2))
        proxy.fate = deliver
    expected = {_user(number): _cost_nanos(number) for number in range(CALLS // 2)}
    deadline = time.monotonic() + WITHIN_S
    while expected != await _spends(valkey_url, workspace) and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    books = await read_books(valkey_url, workspace)

    assert expected == await _spends(valkey_url, workspace)
    assert (0, 0) == (books.report.open_holds, books.report.held_nanos)
    assert proxy.lost > 0


@pytest.mark.parametrize("fate", [swallow, cut_in_the_middle])
async def test_no_reply_reaches_the_wrong_caller(sidecar: SidecarProcess, proxy: StoreProxy, fate: Fate) -> None:
    """Every exact answer tells the caller's own spend; catches replies that are paired with the next command."""

    async def check(number: int) -> Answer:
        body = {"request_id": "call", "user_id": _user(number), "tier": "free", "cost_usd": _usd(_cost_nanos(number))}
        return (await _insist(session, f"{sidecar.url}/v1/check", body))[-1]

    async with open_session() as session:
        proxy.fate = losing(fate)
        answers = await _for_all(check, range(CALLS))
        proxy.fate = deliver

    seen = [(answer.document["user_id"], answer.document["spend_usd"]) for answer in answers]
    assert [(_user(number), _usd(_cost_nanos(number))) for number in range(CALLS)] == seen


async def _ask_and_leave(url: str, body: dict[str, Any]) -> None:
    """Send a whole request and close the connection without waiting for the answer."""
    address, document = urlsplit(url), json.dumps(body).encode()
    _, writer = await asyncio.open_connection(address.hostname, address.port)
    head = f"POST {address.path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(document)}\r\n\r\n"
    writer.write(head.encode() + document)
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def test_callers_who_leave_shift_no_replies(sidecar: SidecarProcess, valkey_url: str, workspace: str) -> None:
    """Between callers who disconnect, each other one gets an answer of its own; catches replies nobody consumes."""

    async def check(number: int) -> Answer | None:
        body = {"request_id": "call", "user_id": _user(number), "tier": "free", "cost_usd": _usd(_cost_nanos(number))}
        if number % 2:
            await _ask_and_leave(f"{sidecar.url}/v1/check", body)
            return None
        return (await _insist(session, f"{sidecar.url}/v1/check", body))[-1]

    async with open_session() as session:
        answers = await _for_all(check, range(CALLS))
    spends = await _spends(valkey_url, workspace)

    seen = [(each.document["user_id"], each.document["spend_usd"]) for each in answers if each is not None]
    assert [(_user(number), _usd(_cost_nanos(number))) for number in range(0, CALLS, 2)] == seen
    assert [] == [user for user, spend in spends.items() if spend != _cost_nanos(int(user.removeprefix("user-")))]


async def test_cancelled_commands_shift_no_replies(valkey_url: str) -> None:
    """On one connection each word comes back to who sent it, or not at all; catches a reply left in the stream."""
    client = connect(valkey_url, StoreTimeouts(connect_ms=30_000, command_ms=30_000))
    connection = ScriptConnection(client)
    try:
        async with asyncio.timeout(WITHIN_S):
            await connection.execute_command("PING")
            echoes = [asyncio.create_task(connection.execute_command("ECHO", number)) for number in range(WORDS)]
            for number, echo in enumerate(echoes):
                if number % LOST_EVERY == 0:
                    await asyncio.sleep(0)
                    echo.cancel()
            words = await asyncio.gather(*echoes, return_exceptions=True)
            last = await connection.execute_command("ECHO", "last")
    finally:
        await connection.aclose()
        await client.aclose()

    gone = (asyncio.CancelledError, RedisConnectionError)
    wrong = [(number, word) for number, word in enumerate(words) if not isinstance(word, gone)]
    assert [] == [(number, word) for number, word in wrong if str(number).encode() != word]
    assert b"last" == last
