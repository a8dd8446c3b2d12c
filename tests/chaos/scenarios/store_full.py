"""The store reaches maxmemory: what spends is refused, what was spent lands."""

import redis

from tests.chaos.scenario import Scenario, Stage
from tests.support.stores import store_process

ROOM_BYTES = 16 * 1024
REFUSALS = 50
HELD = 50


async def run(stage: Stage) -> None:
    """Leave no memory, let callers meet it, and give it back."""
    store = await stage.enter(store_process())
    sidecars = await stage.sidecars(store.url)
    load = await stage.load([sidecar.url for sidecar in sidecars], reserve_share=1.0)
    with redis.Redis.from_url(store.url) as client:
        async with load.running():
            await load.wait_for(300)
        held = [await load.reserve() for _ in range(HELD)]
        client.config_set("maxmemory", client.info("memory")["used_memory"] + ROOM_BYTES)
        async with load.running():
            await load.until(lambda: load.truth.answers["degraded_denied"] >= REFUSALS)
        settled = [await load.advance(deal) for deal in held]
        client.config_set("maxmemory", 0)
        async with load.running():
            await load.wait_for(300)
    stage.report.notes["settled_without_memory"] = sum(settled)
    stage.expect(all(settled), f"only {sum(settled)} of {HELD} settles landed without memory")
    await stage.compare_exactly(load, store.url)


SCENARIO = Scenario(
    name="store-full",
    title="`maxmemory` reached: reserves are refused, settles land",
    bound="nothing",
    run=run,
    fast=True,
)
