"""Answers that callers only got on a second try: the store loses its data afterwards, and the journal has them too."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
import redis

from tests.support.apps import Answer, ask, open_session
from tests.support.books import new_workspace, read_books
from tests.support.processes import SidecarProcess, running_sidecar, template, write_rules
from tests.support.store_proxy import Fate, StoreProxy, cut_in_the_middle, deliver, swallow
from tests.support.stores import StoreProcess, store_process

WITHIN_S: Final = 60.0
TIMEOUTS: Final = {"deadline_ms": 5000, "command_timeout_ms": 300, "breaker_failure_pct": 100}
CHECKED_NANOS: Final = 3_000_000
SETTLED_NANOS: Final = 5_000_000


@pytest.fixture
def store() -> Iterator[StoreProcess]:
    """Run a store of one's own, which may be emptied."""
    with store_process() as running:
        yield running


@pytest.fixture
async def proxy(store: StoreProcess) -> AsyncIterator[StoreProxy]:
    """Run a proxy in front of the store, whose fate concerns calls and not what the sidecar looks up meanwhile."""
    async with StoreProxy(store.url).running() as running:
        running.concerns = lambda command: b"spendgate_admit" in command or b"spendgate_resolve" in command
        yield running


@pytest.fixture
def workspace() -> str:
    """Return a workspace of its own."""
    return new_workspace()


@pytest.fixture
async def sidecar(tmp_path: Path, proxy: StoreProxy, workspace: str) -> AsyncIterator[SidecarProcess]:
    """Run a sidecar behind the proxy; it is stopped off this loop."""
    rules = write_rules(tmp_path / "rules.yaml", template("free", 1000))
    manager = running_sidecar(tmp_path, proxy.url, rules, workspace=workspace, **TIMEOUTS)
    running = await asyncio.to_thread(manager.__enter__)
    try:
        yield running
    finally:
        await asyncio.to_thread(manager.__exit__, None, None, None)


def losing_one(proxy: StoreProxy, fate: Fate) -> Fate:
    """Return a fate that meets the next reply to a call, and no other."""

    def meet(reply: bytes) -> bytes | None:
        if not reply.startswith(b"*"):
            return reply
        proxy.fate = deliver
        return fate(reply)

    return meet


async def _insist(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> Answer:
    async with asyncio.timeout(WITHIN_S):
        while not (answer := await ask(session, url, body)).is_exact:  # noqa: ASYNC110 - what is awaited sends no event
            await asyncio.sleep(0.02)
        return answer


async def _until_spent(store: StoreProcess, workspace: str, nanos: int) -> None:
    """Wait until the ledger says so, and no less and no more."""
    spends: list[int] = []
    async with asyncio.timeout(WITHIN_S):
        while not spends or spends[-1] != nanos:
            spends.append((await read_books(store.url, workspace)).spend("ada").get("month", 0))
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("fate", [swallow, cut_in_the_middle])
async def test_a_charge_that_only_a_repeat_has_told_of_outlives_the_stores_data(
    sidecar: SidecarProcess, proxy: StoreProxy, store: StoreProcess, workspace: str, fate: Fate
) -> None:
    """The first run charged, its reply was lost, the second found the charge; catches a journal without the second."""
    call = {"user_id": "ada", "tier": "free"}
    async with open_session() as session:
        await _insist(session, f"{sidecar.url}/v1/check", {**call, "request_id": "before", "cost_usd": 0.001})
        proxy.fate = losing_one(proxy, fate)
        check = {**call, "request_id": "checked", "cost_usd": CHECKED_NANOS / 1e9}
        assert (await _insist(session, f"{sidecar.url}/v1/check", check)).document["replayed"]
        proxy.fate = losing_one(proxy, fate)
        reserve = {**call, "request_id": "held", "estimate_usd": 0.5}
        assert (await _insist(session, f"{sidecar.url}/v1/reserve", reserve)).document["replayed"]
        proxy.fate = losing_one(proxy, fate)
        settle = {"user_id": "ada", "request_id": "held", "cost_usd": SETTLED_NANOS / 1e9}
        assert (await _insist(session, f"{sidecar.url}/v1/settle", settle)).document["replayed"]
        whole = 1_000_000 + CHECKED_NANOS + SETTLED_NANOS
        await _until_spent(store, workspace, whole)
        with redis.Redis.from_url(store.url) as client:
            client.flushall()
        await _until_spent(store, workspace, whole)
