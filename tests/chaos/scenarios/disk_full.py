"""The disks of the journals are full for a while: also without the store, and the store's data is lost afterwards."""

import asyncio
import resource
from typing import Final

from tests.chaos.recovery import metric, until_quiet
from tests.chaos.scenario import FAR_LIMIT_USD, Scenario, Stage, off_the_loop
from tests.support.cut_store import cut_store
from tests.support.processes import SidecarProcess, template

CALLS: Final = 300
FULL_BYTES: Final = 64
"""No file grows past it: as on a disk that is full, nothing can be written, and what is there stays."""
AWAY_S: Final = 0.7


def limit_files(sidecars: list[SidecarProcess], size: int) -> None:
    """Let no file of the sidecars grow past a size."""
    for sidecar in sidecars:
        resource.prlimit(sidecar.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


async def run(stage: Stage) -> None:
    """Fill the disks, take the store away meanwhile, give both back, and lose half of what the store has."""
    store = await stage.enter(cut_store())
    sidecars = await stage.sidecars(store.url, rules=[template("free", FAR_LIMIT_USD, on_store_failure="allow")])
    load = await stage.load([sidecar.url for sidecar in sidecars])
    async with load.running():
        await load.wait_for(CALLS)
        limit_files(sidecars, FULL_BYTES)
        await load.wait_for(CALLS)
        before = load.truth.answers.copy()
        await off_the_loop(store.kill)
        await asyncio.sleep(AWAY_S)
        let_through = load.truth.answers["degraded_allowed"] - before["degraded_allowed"]
        refused = load.truth.answers["degraded_denied"] - before["degraded_denied"]
        await off_the_loop(store.start)
        await load.wait_for(CALLS)
        limit_files(sidecars, resource.RLIM_INFINITY)
        await load.wait_for(CALLS)
        await off_the_loop(store.kill)
        store.cut(50)
        await off_the_loop(store.start)
        await load.wait_for(CALLS)
    stage.report.notes |= {
        "refused_without_store_and_disk": refused,
        "let_through": let_through,
        "not_kept": int(sum([await metric(sidecar, "spendgate_journal_failures_total") for sidecar in sidecars])),
    }
    stage.expect(refused > 0, "nothing was refused although nothing could be kept")
    stage.expect(let_through == 0, f"{let_through} calls were let through that no disk had kept")
    await load.finish()
    await until_quiet(sidecars)
    await stage.compare_exactly(load, store.url)


SCENARIO = Scenario(
    name="disk-full",
    title="Disks of both journals full, the store gone meanwhile; afterwards half of its file is cut off",
    bound="nothing; without store and disk nothing is let through",
    run=run,
)
