"""Replies of the store that are lost, late or torn on their way to the sidecars; also when its data is lost then."""

from collections.abc import Callable
from functools import partial
from typing import Final

import redis.asyncio as redis

from tests.chaos.recovery import until_quiet
from tests.chaos.scenario import Scenario, Stage
from tests.support.store_proxy import Fate, StoreProxy, cut_in_the_middle, deliver, swallow
from tests.support.stores import store_process

CALLS: Final = 500
MET: Final = 0.02
DELAYED: Final = 0.05
HALF: Final = 0.5
LONGEST_DELAY_S: Final = 0.2
"""Twice the command's timeout: half of the delayed replies come too late."""

Spoil = Callable[[Stage, StoreProxy], None]


def meeting(fate: Fate, stage: Stage, proxy: StoreProxy) -> None:
    """Have a share of the replies meet a fate."""
    proxy.fate = lambda reply: fate(reply) if stage.rng.random() < MET else reply


def delaying(stage: Stage, proxy: StoreProxy) -> None:
    """Hold a share of the replies back."""
    proxy.delay = lambda: stage.rng.uniform(0, LONGEST_DELAY_S) if stage.rng.random() < DELAYED else 0.0


def everything(stage: Stage, proxy: StoreProxy) -> None:
    """All of it."""
    meeting(lambda reply: swallow(reply) if stage.rng.random() < HALF else cut_in_the_middle(reply), stage, proxy)
    delaying(stage, proxy)


async def run(spoil: Spoil, stage: Stage, *, flushes: int = 0) -> None:
    """Let two sidecars meet it on a line of their own, then mend it; the data may be lost meanwhile, repeatedly."""
    store = await stage.enter(store_process())
    async with StoreProxy(store.url).running() as proxy, redis.Redis.from_url(store.url) as client:
        sidecars = await stage.sidecars(proxy.url, breaker_failure_pct=100)  # Or hardly anything would be asked.
        load = await stage.load([sidecar.url for sidecar in sidecars])
        async with load.running():
            spoil(stage, proxy)
            for _ in range(flushes):
                await load.wait_for(CALLS // 2)
                await client.flushall()
            await load.wait_for(CALLS)
            proxy.fate, proxy.delay = deliver, float
            await load.wait_for(CALLS // 4)
        stage.report.notes["replies_lost"] = proxy.lost
        await load.finish()
        await until_quiet(sidecars)
        await stage.compare_exactly(load, store.url)


def _scenario(name: str, title: str, spoil: Spoil, *, flushes: int = 0, fast: bool = False) -> Scenario:
    work = partial(run, spoil, flushes=flushes)
    return Scenario(name=f"replies-{name}", title=title, bound="nothing", run=work, fast=fast)


SCENARIOS = [
    _scenario("dropped", f"{MET:.0%} of the store's replies swallowed", partial(meeting, swallow)),
    _scenario("delayed", f"{DELAYED:.0%} of the store's replies up to {LONGEST_DELAY_S * 1000:.0f} ms late", delaying),
    _scenario(
        "cut", f"{MET:.0%} of the store's replies cut in the middle of a frame", partial(meeting, cut_in_the_middle)
    ),
    _scenario("spoiled-flushed", "All of that, and FLUSHALL twice meanwhile", everything, flushes=2),
]
