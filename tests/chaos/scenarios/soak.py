"""``make soak``: calls for an hour over one store; keys grow by the records that are kept, memory does not.

``SOAK_MINUTES`` and ``SOAK_CALLS_PER_S`` say how long and how busy.
"""

import os
import time
from pathlib import Path
from typing import Any, Final

import redis.asyncio as redis

from tests.chaos.load import Load
from tests.chaos.scenario import Scenario, Stage
from tests.support.processes import SidecarProcess
from tests.support.stores import store_process

MINUTES: Final = float(os.environ.get("SOAK_MINUTES", "60"))
CALLS_PER_S: Final = float(os.environ.get("SOAK_CALLS_PER_S", "100"))
CALLERS: Final = 4
WARM_UP_SHARE: Final = 0.25
LOOKS: Final = 12
MAX_GROWTH: Final = 0.15
MAX_NEW_FILES: Final = 16
"""Sockets and files that a sidecar may have open at the end beside those after the warm-up."""
SPARE_KEYS: Final = 1000
"""Counters, totals, tallies, indexes and streams: as many as users and days, whatever was called."""


async def run(stage: Stage) -> None:
    """Call for so many minutes, look at the processes all the while, and compare a quarter of it with the end."""
    store = await stage.enter(store_process())
    sidecars = await stage.sidecars(store.url)
    load = await stage.load([sidecar.url for sidecar in sidecars], callers=CALLERS, pause_s=CALLERS / CALLS_PER_S)
    async with redis.Redis.from_url(store.url) as client:
        looks = await _watch(load, sidecars)
        await load.finish()
        memory, keys = await client.info("memory"), await client.dbsize()
    warm, end = looks[round(WARM_UP_SHARE * LOOKS) - 1], looks[-1]
    growth = end[0] / warm[0] - 1
    beside = keys - len(load.truth.deals)
    notes: dict[str, Any] = {
        "minutes": MINUTES,
        "sidecars_mb": [round(resident / 2**20, 1) for resident, _ in looks],
        "open_files": [files for _, files in looks],
        "growth_pct": round(100 * growth, 1),
        "keys": keys,
        "keys_beside_records": beside,
        "store_bytes_a_call": round(memory["used_memory_dataset"] / len(load.truth.deals)),
    }
    stage.report.notes.update(notes)
    stage.expect(growth < MAX_GROWTH, f"the sidecars grew by {growth:.0%}")
    stage.expect(end[1] - warm[1] <= MAX_NEW_FILES, f"the sidecars' open files grew from {warm[1]} to {end[1]}")
    stage.expect(beside < SPARE_KEYS, "keys grew by more than the records that are kept")
    await stage.compare_exactly(load, store.url)


async def _watch(load: Load, sidecars: list[SidecarProcess]) -> list[tuple[int, int]]:
    """Return what the sidecars have in memory and how many files are open, all together, a dozen times."""
    started_s, looks = time.monotonic(), []
    async with load.running():
        for number in range(1, LOOKS + 1):
            until_s = started_s + number / LOOKS * MINUTES * 60
            await load.until(lambda until_s=until_s: time.monotonic() >= until_s, within_s=MINUTES * 60 + 60)
            looks.append((_resident_bytes(sidecars), _open_files(sidecars)))
    return looks


def _resident_bytes(sidecars: list[SidecarProcess]) -> int:
    """Return what the sidecars keep in memory, all together (Linux)."""
    pages = [int(Path(f"/proc/{sidecar.process.pid}/statm").read_text().split()[1]) for sidecar in sidecars]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE")


def _open_files(sidecars: list[SidecarProcess]) -> int:
    return sum(len(list(Path(f"/proc/{sidecar.process.pid}/fd").iterdir())) for sidecar in sidecars)


SCENARIO = Scenario(
    name="soak",
    title="Calls without end (`make soak`)",
    bound="nothing",
    run=run,
    soak=True,
)
