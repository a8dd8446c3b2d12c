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


async def _adjust(control: ControlPlane, usd: str, request_id: str) -> int:
    body = {"request_id": request_id, "usd": usd, "note": "a note"}
    return (await control.call("POST", "/api/v1/users/ada/adjust", body)).status


async def _until_spent(client: "redis.asyncio.Redis", spend: float) -> None:
    """Wait until the day's counter has it."""
    key = PartitionKeys.of(WORKSPACE, 0).counter((await _plan(client)).counters[0].window, "ada")

    async def is_spent() -> bool:
        stored = await client.get(key)
        return stored is not None and parse_counter(stored).spend_nanos == nanos(spend)

    await _until(is_spent)


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
        keys = PartitionKeys.of(WORKSPACE, 0)
        window = (await _plan(client)).counters[0].window
        await client.rename(keys.request("ada", "missed"), keys.request("erased", "other"))
        await client.rename(keys.counter(window, "ada"), keys.counter(window, "erased"))
        before = await client.hget(keys.lineage, "lineage")  # type: ignore[misc]
        store.kill()
        store.start()

        async def is_looked_at() -> bool:
            return await client.hget(keys.lineage, "lineage") not in {None, before}  # type: ignore[misc]

        await _until(is_looked_at)
        assert 200 == await _adjust(control, "1", "another")
    assert {"day": nanos(1)} == {
        kind: spend for kind, spend in (await read_books(store.url, WORKSPACE)).spend("ada").items() if kind == "day"
    }


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
