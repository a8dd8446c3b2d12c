"""Operators' adjustments outlive the store's data: the control plane keeps them, and does again what was lost."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import redis.asyncio

from ledger.counter_text import parse_counter
from ledger.decisions import Decision, Operation
from ledger.keys import PartitionKeys
from ledger.operations import Admission, sent_text
from ledger.plans import Plan, compile_plan
from ledger.redis_ledger import RedisLedger
from ledger.rules import EMPTY_RULE_SET
from ledger.user_erasure import UserEraser
from tests.support.books import every_window, read_books
from tests.support.control_plane import ControlPlane, control_plane
from tests.support.ledger_under_test import nanos
from tests.support.stores import StoreProcess, store_process

WORKSPACE = "kept"
DEADLINE_S = 60.0


@pytest.fixture
def store() -> Iterator[StoreProcess]:
    """Run a store of its own, whose data is lost."""
    with store_process() as running:
        yield running


@pytest.fixture
async def client(store: StoreProcess) -> AsyncIterator["redis.asyncio.Redis"]:
    """Return a client of it."""
    async with redis.asyncio.Redis.from_url(store.url) as client:
        yield client


async def _plan(client: "redis.asyncio.Redis") -> Plan:
    seconds, _ = await client.time()
    return compile_plan(EMPTY_RULE_SET, "ada", None, int(seconds) * 1000)


async def _charge(client: "redis.asyncio.Redis", request_id: str, usd: float) -> None:
    admission = Admission(
        operation=Operation.CHECK,
        plan=await _plan(client),
        request_id=request_id,
        user_id="ada",
        amount_nanos=nanos(usd),
        sent=sent_text(Operation.CHECK, None, str(usd), 0),
        not_after_ms=1 << 52,
    )
    (answer,) = await RedisLedger(client, workspace=WORKSPACE).admit([admission])
    assert isinstance(answer, Decision)


async def _adjust(control: ControlPlane, usd: str, request_id: str, user_id: str = "ada") -> int:
    body = {"request_id": request_id, "usd": usd, "note": "a note"}
    return (await control.call("POST", f"/api/v1/users/{user_id}/adjust", body)).status


async def _erase(client: "redis.asyncio.Redis") -> None:
    await UserEraser(client, WORKSPACE, 1).erase("ada", actor="tester", note="a request")


async def _until_spent(client: "redis.asyncio.Redis", spend: float, user_id: str = "ada") -> None:
    """Wait until the day's counter has it."""

    async def is_spent() -> bool:
        key = PartitionKeys.of(WORKSPACE, 0).counter((await _plan(client)).counters[0].window, user_id)
        stored = await client.get(key)
        return stored is not None and parse_counter(stored).spend_nanos == nanos(spend)

    await _until(is_spent)


async def _start_anew(store: StoreProcess, client: "redis.asyncio.Redis") -> None:
    """Start the store anew, and wait until the control plane has seen that."""
    key = PartitionKeys.of(WORKSPACE, 0).lineage
    before = await client.hget(key, "lineage")  # type: ignore[misc]
    store.kill()
    store.start()

    async def is_looked_at() -> bool:
        return await client.hget(key, "lineage") not in {None, before}  # type: ignore[misc]

    await _until(is_looked_at)


async def _until(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something is so; a store that is starting cannot be asked yet."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            with contextlib.suppress(redis.asyncio.RedisError):
                if await is_so():
                    return
            await asyncio.sleep(0.05)


async def test_an_adjustment_comes_back_before_the_charge_that_it_takes_from(
    store: StoreProcess, client: "redis.asyncio.Redis", tmp_path: Path
) -> None:
    """All data is lost; the control plane is the first to bring its own back, and the sum is right in the end."""
    async with control_plane(store.url, workspace=WORKSPACE, control_data_dir=tmp_path) as control:
        await _charge(client, "call", 5)
        assert 200 == await _adjust(control, "-2", "credit")
        assert 200 == await _adjust(control, "0.5", "missed")
        await client.flushall()
        await _until_spent(client, -1.5)
        await _charge(client, "call", 5)
    books = await read_books(store.url, WORKSPACE)
    assert (every_window(nanos(3.5)), []) == (books.spend("ada"), books.report.differences)


async def test_a_control_plane_that_starts_later_brings_it_back(
    store: StoreProcess, client: "redis.asyncio.Redis", tmp_path: Path
) -> None:
    """It was down when the data was lost."""
    async with control_plane(store.url, workspace=WORKSPACE, control_data_dir=tmp_path) as control:
        assert 200 == await _adjust(control, "2", "missed")
    await client.flushall()
    async with control_plane(store.url, workspace=WORKSPACE, control_data_dir=tmp_path):
        await _until_spent(client, 2)


async def test_what_the_store_still_has_is_not_done_again(
    store: StoreProcess, client: "redis.asyncio.Redis", tmp_path: Path
) -> None:
    """A user who was erased has no record under the old name: a restart without a loss must not credit anew."""
    async with control_plane(store.url, workspace=WORKSPACE, control_data_dir=tmp_path) as control:
        assert 200 == await _adjust(control, "2", "missed")
        await _erase(client)
        await _start_anew(store, client)
        assert 200 == await _adjust(control, "1", "another")
    books = await read_books(store.url, WORKSPACE)
    assert (every_window(nanos(1)), []) == (books.spend("ada"), books.report.differences)


async def test_what_an_erased_user_was_credited_comes_back_with_a_loss(
    store: StoreProcess, client: "redis.asyncio.Redis", tmp_path: Path
) -> None:
    """All data is lost, the erasure too: the adjustment is there under the old name, once, and a repeat erases it."""
    async with control_plane(store.url, workspace=WORKSPACE, control_data_dir=tmp_path) as control:
        assert 200 == await _adjust(control, "2", "missed")
        await _erase(client)
        await client.flushall()
        await _until_spent(client, 2)
        await _erase(client)
    books = await read_books(store.url, WORKSPACE)
    assert ({}, nanos(2), []) == (books.spend("ada"), books.report.charged_nanos, books.report.differences)


async def test_a_store_that_has_forgotten_its_runs_brings_it_back_too(
    store: StoreProcess, client: "redis.asyncio.Redis", tmp_path: Path
) -> None:
    """After very many starts nothing tells that it was done and renamed: it is done anew, as the documents say."""
    async with control_plane(store.url, workspace=WORKSPACE, control_data_dir=tmp_path) as control:
        assert 200 == await _adjust(control, "2", "missed")
        await _erase(client)
        await _start_anew(store, client)
        ends = {f"end:{number}": "1" for number in range(62)}
        await client.hset(PartitionKeys.of(WORKSPACE, 0).lineage, mapping=ends)  # type: ignore[misc]
        await _start_anew(store, client)
        await _until_spent(client, 2)
    books = await read_books(store.url, WORKSPACE)
    assert (nanos(4), []) == (books.report.charged_nanos, books.report.differences)


async def test_a_line_that_an_operator_deletes_does_not_come_back(
    store: StoreProcess, client: "redis.asyncio.Redis", tmp_path: Path
) -> None:
    """Of a user who was erased; those of others do, each line for itself."""
    async with control_plane(store.url, workspace=WORKSPACE, control_data_dir=tmp_path) as control:
        assert 200 == await _adjust(control, "2", "missed")
        assert 200 == await _adjust(control, "3", "missed", "bob")
        await _erase(client)
    kept = tmp_path / f"adjustments-{WORKSPACE}"
    lines = kept.read_bytes().splitlines(keepends=True)
    kept.write_bytes(b"".join(line for line in lines if b'"user_id":"ada"' not in line))
    await client.flushall()
    async with control_plane(store.url, workspace=WORKSPACE, control_data_dir=tmp_path):
        await _until_spent(client, 3, "bob")
    books = await read_books(store.url, WORKSPACE)
    assert ({}, every_window(nanos(3))) == (books.spend("ada"), books.spend("bob"))


async def test_a_disk_that_cannot_keep_it_is_told_and_a_repeat_keeps_it(
    store: StoreProcess, client: "redis.asyncio.Redis", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was made once; only the second answer says that it is safe."""

    def fail(_descriptor: int) -> None:
        raise OSError("no disk")

    async with control_plane(store.url, workspace=WORKSPACE, control_data_dir=tmp_path) as control:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fail)
            body = {"request_id": "missed", "usd": "2", "note": "a note"}
            failed = await control.call("POST", "/api/v1/users/ada/adjust", body)
        assert (503, "not_kept") == (failed.status, failed.code)
        assert 200 == await _adjust(control, "2", "missed")
        await client.flushall()
        await _until_spent(client, 2)
