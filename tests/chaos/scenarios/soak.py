"""``make soak``: calls for an hour over one store; keys grow by the records that are kept, memory does not."""

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
CALLERS: Final = 4
WARM_UP_SHARE: Final = 0.25
MAX_GROWTH: Final = 0.15
SPARE_KEYS: Final = 1000
"""Counters, totals, tallies, indexes and streams: as many as users and days, whatever was called."""


async def run(stage: Stage) -> None:
    """Call for so many minutes; measure after a quarter of them and at the end."""
    store = await stage.enter(store_process())
    sidecars = await stage.sidecars(store.url)
    load = await stage.load([sidecar.url for sidecar in sidecars], callers=CALLERS)
    started_s = time.monotonic()
    async with redis.Redis.from_url(store.url) as client, load.running():
        await _reach(load, started_s, WARM_UP_SHARE)
        warm = _resident_bytes(sidecars)
        await _reach(load, started_s, 1.0)
        end, keys = _resident_bytes(sidecars), await client.dbsize()
    growth = end / warm - 1
    notes: dict[str, Any] = {
        "minutes": MINUTES,
        "sidecars_mb": round(end / 2**20, 1),
        "growth_pct": round(100 * growth, 1),
    }
    stage.report.notes.update(notes, keys=keys, keys_beside_records=keys - len(load.truth.deals))
    stage.expect(growth < MAX_GROWTH, f"the sidecars grew by {growth:.0%}")
    stage.expect(keys - len(load.truth.deals) < SPARE_KEYS, "keys grew by more than the records that are kept")
    await stage.compare_exactly(load, store.url)


async def _reach(load: Load, started_s: float, share: float) -> None:
    await load.until(lambda: time.monotonic() - started_s >= share * MINUTES * 60, within_s=MINUTES * 60 + 60)


def _resident_bytes(sidecars: list[SidecarProcess]) -> int:
    """Return what the sidecars keep in memory, all together (Linux)."""
    pages = [int(Path(f"/proc/{sidecar.process.pid}/statm").read_text().split()[1]) for sidecar in sidecars]
    return sum(pages) * os.sysconf("SC_PAGE_SIZE")


SCENARIO = Scenario(
    name="soak",
    title="Calls without end (`make soak`)",
    bound="nothing",
    run=run,
    soak=True,
)
