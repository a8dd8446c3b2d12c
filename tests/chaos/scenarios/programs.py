"""Programs that are forgotten all the time, and sidecars of two versions, each with programs of its own."""

import asyncio
import re
import shutil
from pathlib import Path

import redis.asyncio as redis

from tests.chaos.scenario import Scenario, Stage
from tests.support.processes import ROOT
from tests.support.stores import store_process

CHANGED = ("admit", "resolve")
ROOMS = ("ledger", "sidecar", "controlplane", "cli", "lua")


async def forget(stage: Stage) -> None:
    """Flush functions and scripts for as long as callers call."""
    store = await stage.enter(store_process())
    sidecars = await stage.sidecars(store.url)
    load = await stage.load([sidecar.url for sidecar in sidecars])
    flushes, done = 0, asyncio.Event()
    async with redis.Redis.from_url(store.url) as client:

        async def flush() -> None:
            nonlocal flushes
            while not done.is_set():
                await client.function_flush()
                await client.script_flush()
                flushes += 1

        async with load.running():
            flushing = asyncio.create_task(flush())
            await load.wait_for(1500)
            done.set()
            await flushing
    stage.report.notes["flushes"] = flushes
    await stage.compare_exactly(load, store.url)


async def two_versions(stage: Stage) -> None:
    """Let every call go to either of two versions, repeats and settles to whichever comes."""
    other = stage.directory / "other-version"
    await asyncio.to_thread(_copy, other)
    store = await stage.enter(store_process())
    sidecars = [*await stage.sidecars(store.url, count=1), *await stage.sidecars(store.url, count=1, root=other)]
    load = await stage.load([sidecar.url for sidecar in sidecars])
    async with load.running():
        await load.wait_for(1500)
    async with redis.Redis.from_url(store.url) as client:
        loaded = str(await client.function_list())
    versions = {name: len(set(re.findall(f"spendgate_{name}_[0-9a-f]+", loaded))) for name in CHANGED}
    stage.report.notes["versions_loaded"] = versions
    stage.expect(set(versions.values()) == {2}, f"not two versions of each program ran: {versions}")
    await stage.compare_exactly(load, store.url)


def _copy(target: Path) -> None:
    """Copy the sources; the programs that move money get another text, and so another name."""
    for room in ROOMS:
        shutil.copytree(ROOT / room, target / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in CHANGED:
        path = target / "lua" / f"{name}.lua"
        path.write_text(path.read_text() + "\n-- Another version.\n")


SCENARIOS = [
    Scenario(
        name="programs-forgotten",
        title="SCRIPT FLUSH and FUNCTION FLUSH all the time",
        bound="nothing",
        run=forget,
    ),
    Scenario(
        name="two-versions",
        title="Sidecars of two versions over one store",
        bound="nothing",
        run=two_versions,
        fast=True,
    ),
]
