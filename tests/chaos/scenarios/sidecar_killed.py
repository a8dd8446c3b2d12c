"""Sidecars that are killed at random moments while callers go on with the others."""

from typing import Final

from tests.chaos.scenario import Scenario, Stage
from tests.support.stores import store_process

KILLS: Final = 20
MAX_CALLS_BETWEEN: Final = 120


async def run(stage: Stage) -> None:
    """Kill one of two sidecars twenty times; a new one takes its place each time."""
    store = await stage.enter(store_process())
    sidecars = await stage.sidecars(store.url)
    load = await stage.load([sidecar.url for sidecar in sidecars])
    async with load.running():
        for number in range(KILLS):
            await load.wait_for(stage.rng.randrange(1, MAX_CALLS_BETWEEN))
            victim = number % 2
            sidecars[victim].process.kill()
            (sidecars[victim],) = await stage.sidecars(store.url, count=1)
            load.urls[victim] = sidecars[victim].url
    await stage.compare_exactly(load, store.url)


SCENARIO = Scenario(
    name="sidecar-killed",
    title=f"Sidecar killed by SIGKILL at {KILLS} random moments; callers repeat by the same id",
    bound="nothing",
    run=run,
)
