"""The store's process is killed under load and started again on its files."""

from tests.chaos.scenario import Scenario, Stage
from tests.support.stores import store_process

KILLS = 3


async def run(stage: Stage) -> None:
    """Kill it three times while callers go on."""
    store = await stage.enter(store_process())
    sidecars = await stage.sidecars(store.url)
    load = await stage.load([sidecar.url for sidecar in sidecars])
    async with load.running():
        for _ in range(KILLS):
            await load.wait_for(300)
            store.kill()
            store.start()
        await load.wait_for(300)
    await stage.compare_exactly(load, store.url)


SCENARIO = Scenario(
    name="store-killed",
    title="Store killed by SIGKILL under load, three times",
    bound="nothing: the append-only file has what was answered",
    run=run,
    fast=True,
)
