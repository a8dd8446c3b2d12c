"""SIGTERM and Ctrl-C: what was accepted is answered, and the process ends soon, with exit code 0."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import msgpack
import pytest

from ledger.background import Background
from sidecar import listeners
from tests.support.apps import Answer, Call, ask, open_session
from tests.support.books import new_workspace, read_books
from tests.support.processes import SidecarProcess, running_sidecar, template, write_rules
from tests.support.service_thread import sidecar_in_a_thread
from tests.support.stores import StoreProcess, store_process

WORKERS: Final = 20
IN_FLIGHT: Final = 50
STREAM_IN_FLIGHT: Final = 200
WARM_UP: Final = 200
STOPPED_WITHIN_S: Final = 30.0
"""What no stall of a machine fills, and no endless wait keeps to."""
FOR_EVER_S: Final = 600.0
HASTY: Final = {"deadline_ms": 300, "command_timeout_ms": 200}


@asynccontextmanager
async def _house(
    directory: Path, workspace: str, **settings: object
) -> AsyncIterator[tuple[SidecarProcess, StoreProcess]]:
    """Run a sidecar over a store of its own, with limits that nobody reaches; stopped off the event loop."""
    rules = write_rules(directory / "rules.yaml", template("free", 1000))
    with store_process() as store:
        manager = running_sidecar(directory, store.url, rules, workspace=workspace, **settings)
        sidecar = await asyncio.to_thread(manager.__enter__)
        try:
            yield sidecar, store
        finally:
            await asyncio.to_thread(manager.__exit__, None, None, None)


async def _stop(sidecar: SidecarProcess, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
    """Signal a sidecar; returns its exit code and how long it took to end, in seconds."""
    started = time.monotonic()
    sidecar.process.send_signal(number)
    code = await asyncio.to_thread(sidecar.process.wait, 2 * STOPPED_WITHIN_S)
    return code, time.monotonic() - started


def _check(sidecar: SidecarProcess, number: int) -> Call:
    body = {"request_id": f"call-{number}", "user_id": f"user-{number % 5}", "tier": "free", "cost_usd": 0.001}
    return f"{sidecar.url}/v1/check", body


async def _send_all(
    session: aiohttp.ClientSession, sidecar: SidecarProcess, calls: Sequence[Call]
) -> "list[asyncio.Task[Answer]]":
    """Send calls and return when the sidecar has read them: it has answered two later requests since."""
    tasks = [asyncio.create_task(ask(session, *call)) for call in calls]
    for _ in range(2):
        async with session.get(f"{sidecar.admin_url}/livez") as response:
            await response.read()
    return tasks


async def _connects(sidecar: SidecarProcess) -> bool:
    address = urlsplit(sidecar.url)
    try:
        _, writer = await asyncio.open_connection(address.hostname, address.port)
    except ConnectionError:
        return False
    writer.close()
    return True


async def _refuses_newcomers(sidecar: SidecarProcess) -> None:
    """Return once nobody new is let in; raises `TimeoutError` if the listener stays open."""
    async with asyncio.timeout(STOPPED_WITHIN_S):
        while await _connects(sidecar):
            pass


async def test_calls_in_flight_are_answered_by_the_ledger(tmp_path: Path) -> None:
    """Calls that wait for the store at SIGTERM are decided exactly; catches listeners that cancel or stay open."""
    workspace = new_workspace()
    async with _house(tmp_path, workspace) as (sidecar, store), open_session() as session:
        owner = {"request_id": "held", "user_id": "ada"}
        await ask(session, f"{sidecar.url}/v1/reserve", {**owner, "tier": "free", "estimate_usd": 1})
        calls = [_check(sidecar, number) for number in range(IN_FLIGHT)]
        settle = (f"{sidecar.url}/v1/settle", {**owner, "cost_usd": 0.5})
        await asyncio.gather(*[ask(session, *_check(sidecar, -number - 1)) for number in range(IN_FLIGHT)])
        store.freeze()
        tasks = await _send_all(session, sidecar, [*calls, settle])
        stopping = asyncio.create_task(_stop(sidecar))
        await _refuses_newcomers(sidecar)
        store.thaw()
        answers = await asyncio.gather(*tasks)
        code, elapsed_s = await stopping

    assert [] == [answer for answer in answers if not (answer.is_exact and answer.document["allowed"])]
    assert (0, True) == (code, elapsed_s < STOPPED_WITHIN_S)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_whatever_was_charged_was_answered(tmp_path: Path, number: signal.Signals) -> None:
    """Under load no charge is left without its answer, and the exit code is 0; catches connections cut in service."""
    workspace, numbers, answers = new_workspace(), count(), list[Answer]()

    async def work() -> None:
        while True:
            try:
                answers.append(await ask(session, *_check(sidecar, next(numbers))))
            except aiohttp.ClientError:
                return

    async with _house(tmp_path, workspace) as (sidecar, store), open_session() as session:
        workers = [asyncio.create_task(work()) for _ in range(WORKERS)]
        async with asyncio.timeout(STOPPED_WITHIN_S):
            while len(answers) < WARM_UP:  # noqa: ASYNC110 - the workers fill the list
                await asyncio.sleep(0)
        code, elapsed_s = await _stop(sidecar, number)
        await asyncio.gather(*workers)
        books = await read_books(store.url, workspace)

    charged = {record.request_id for record in books.snapshot.records}
    assert (0, True) == (code, elapsed_s < STOPPED_WITHIN_S)
    assert charged == {answer.document["request_id"] for answer in answers if answer.is_exact}
    assert [] == [answer for answer in answers if not answer.is_exact] + books.report.differences


async def test_a_stream_learns_of_every_charge_before_it_is_closed(tmp_path: Path) -> None:
    """Under load whatever was charged was answered, then the stream ends with 1001; catches streams cut in service."""
    workspace, answered, exact = new_workspace(), set[str](), set[str]()
    async with _house(tmp_path, workspace) as (sidecar, store), open_session() as session:
        socket = await session.ws_connect(f"{sidecar.url}/v1/stream")
        room, refused = asyncio.Semaphore(STREAM_IN_FLIGHT), asyncio.Event()

        async def ask_on() -> None:
            for number in count():
                await room.acquire()
                if refused.is_set():
                    return
                body = {"request_id": f"c-{number}", "user_id": f"user-{number % 5}", "cost_usd": 0.001}
                try:
                    await socket.send_bytes(msgpack.packb([number, "check", body]))
                except ConnectionError:
                    return

        asking = asyncio.create_task(ask_on())
        stopping: asyncio.Task[tuple[int, float]] | None = None
        async for message in socket:
            for _, answer in msgpack.unpackb(message.data):
                room.release()
                if "problem" in answer:
                    refused.set()
                    continue
                answered.add(answer["request_id"])
                if not answer["degraded"]:
                    exact.add(answer["request_id"])
            if len(answered) > WARM_UP and stopping is None:
                stopping = asyncio.create_task(_stop(sidecar))
        refused.set()
        room.release()
        await asking
        assert stopping is not None
        code, elapsed_s = await stopping
        books = await read_books(store.url, workspace)

    charged = {record.request_id for record in books.snapshot.records}
    assert (0, 1001, True) == (code, socket.close_code, elapsed_s < STOPPED_WITHIN_S)
    assert exact <= charged <= answered
    assert [] == books.report.differences


async def test_a_stop_does_not_wait_for_a_frozen_store(tmp_path: Path) -> None:
    """With a store that hangs calls in flight are answered by the rules and it ends; catches endless drains."""
    async with _house(tmp_path, new_workspace(), **HASTY) as (sidecar, store), open_session() as session:
        calls = [_check(sidecar, number) for number in range(IN_FLIGHT)]
        await asyncio.gather(*[ask(session, *call) for call in calls])
        store.freeze()
        tasks = await _send_all(session, sidecar, [_check(sidecar, IN_FLIGHT + number) for number in range(IN_FLIGHT)])
        code, elapsed_s = await _stop(sidecar)
        answers = await asyncio.gather(*tasks)

    assert {(200, True, False)} == {
        (each.status, each.document["degraded"], each.document["allowed"]) for each in answers
    }
    assert (0, True) == (code, elapsed_s < STOPPED_WITHIN_S)


async def test_an_idle_sidecar_stops_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Open connections without a request do not delay the end; catches a wait for keep-alive clients.

    Calls in flight would have for ever here, so that what does not wait for them is told from a machine that stalls.
    """
    monkeypatch.setattr(listeners, "SHUTDOWN_S", FOR_EVER_S)
    rules = write_rules(tmp_path / "rules.yaml", template("free", 1000))
    with store_process() as store:
        async with open_session() as session:
            with sidecar_in_a_thread(tmp_path / "data", store.url, rules=rules, workspace=new_workspace()) as serving:
                url = f"{serving.decision_url}/v1/check"
                assert (await ask(session, url, {"user_id": "ada", "cost_usd": 0})).is_exact
                started = time.monotonic()
            elapsed_s = time.monotonic() - started

    assert elapsed_s < STOPPED_WITHIN_S


async def test_a_swallowed_cancellation_does_not_keep_the_process() -> None:
    """A background task that misses a cancellation is cancelled again; catches a stop that waits for it for ever."""
    ended = asyncio.Event()

    async def deaf_once() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    background = Background(on_failure=lambda: None)
    background.start(deaf_once())
    await asyncio.sleep(0)
    async with asyncio.timeout(STOPPED_WITHIN_S):
        await background.stop()

    assert ended.is_set()
