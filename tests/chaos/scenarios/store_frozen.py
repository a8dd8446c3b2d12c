"""The store hangs under load: once for five seconds, and again and again for half a second."""

import asyncio
from functools import partial

from tests.chaos.scenario import Scenario, Stage
from tests.support.stores import store_process


async def run(stage: Stage, times: int, frozen_s: float) -> None:
    """Freeze it while callers go on, and thaw it."""
    store = await stage.enter(store_process())
    sidecars = await stage.sidecars(store.url)
    load = await stage.load([sidecar.url for sidecar in sidecars])
    async with load.running():
        for _ in range(times):
            await load.wait_for(300)
            store.freeze()
            await asyncio.sleep(frozen_s)
            store.thaw()
        await load.wait_for(300)
    lines = [line for sidecar in sidecars for line in sidecar.log.read_text().splitlines() if "breaker" in line]
    stage.report.notes["breaker_lines"] = len(lines)
    stage.expect(len(lines) <= 4 * times * len(sidecars), f"{len(lines)} lines about breakers in the logs")
    await stage.compare_exactly(load, store.url)


SCENARIOS = [
    Scenario(
        name="store-frozen",
        title="Store frozen by SIGSTOP for 5 s under load",
        bound="nothing: what arrives after its caller was answered is refused by the store",
        run=partial(run, times=1, frozen_s=5.0),
    ),
    Scenario(
        name="store-flapping",
        title="Store frozen for 0.5 s, five times in a row",
        bound="nothing; breakers open for longer the more often it happens",
        run=partial(run, times=5, frozen_s=0.5),
    ),
]
