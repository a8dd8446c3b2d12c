"""A primary that dies with a replica that is behind: what is lost without `wait_for_replica`, and what with it."""

import time
from functools import partial
from typing import Final

from tests.chaos.recovery import replayed, until_quiet
from tests.chaos.scenario import FAR_LIMIT_USD, Scenario, Stage, off_the_loop
from tests.support.cut_store import cut_newest
from tests.support.processes import template
from tests.support.servers import sentinel_store, until

CALLS_BEHIND: Final = 400
DURABLE: Final = ("--appendonly", "yes", "--auto-aof-rewrite-percentage", "0")
CUT_PERCENT: Final = 50


async def _kill_ahead_of_its_replica(stage: Stage, *, waits: bool) -> None:
    """Cut the replica off, let callers go on, kill the primary, thaw the replica, which takes over; the other follows.

    Callers only check: settles do not wait for replicas.
    """
    store = await stage.enter(sentinel_store(None, *DURABLE))
    rule = template("free", FAR_LIMIT_USD, wait_for_replica=waits)
    sidecars = await stage.sidecars(store.url, rules=[rule])
    load = await stage.load([sidecar.url for sidecar in sidecars], reserve_share=0.0)
    primary = store.primary
    replica = next(server for server in store.servers if server is not primary)
    async with load.running():
        await load.wait_for(300)
        replica.freeze()
        with primary.client() as client:
            client.execute_command("CLIENT", "KILL", "TYPE", "replica")  # Or its socket would keep for it what follows.
        asked = len(load.truth.deals)
        await load.until(lambda: len(load.truth.deals) >= asked + CALLS_BEHIND)
        primary.kill()
        killed_s = time.monotonic()
        replica.thaw()
        await off_the_loop(partial(until, lambda: store.primary_port == replica.port, "a failover"))
        stage.report.notes["failover_s"] = round(time.monotonic() - killed_s, 2)
        await off_the_loop(primary.start)
        await load.wait_for(300)
    await load.finish()
    await until_quiet(sidecars)
    await stage.compare_exactly(load, store.url)
    stage.report.notes["replayed"] = await replayed(sidecars)


async def cut_primary(stage: Stage) -> None:
    """Kill the primary, cut its file, start it at once: it is the primary again, or the replica is by then."""
    store = await stage.enter(sentinel_store(None, *DURABLE))
    sidecars = await stage.sidecars(store.url)
    load = await stage.load([sidecar.url for sidecar in sidecars])
    async with load.running():
        await load.wait_for(400)
        primary = store.primary
        primary.kill()
        stage.report.notes["bytes_cut"] = cut_newest(primary.directory, CUT_PERCENT)
        await off_the_loop(primary.start)
        await load.wait_for(400)
    # Sentinels who had given it up meanwhile make the other one the primary; for seconds there are two of them.
    await off_the_loop(store.wait_until_agreed)
    async with load.running():
        await load.wait_for(200)
    await load.finish()
    await until_quiet(sidecars)
    await stage.compare_exactly(load, store.url)
    stage.report.notes["replayed"] = await replayed(sidecars)


SCENARIOS = [
    Scenario(
        name="sentinel-primary-killed-lagging",
        title="Primary killed while its replica hangs; Sentinels make the replica the primary",
        bound="nothing that the sidecars know: their journals bring back what the replica had not got",
        run=partial(_kill_ahead_of_its_replica, waits=False),
    ),
    Scenario(
        name="sentinel-primary-killed-waiting",
        title="The same under `wait_for_replica`",
        bound="nothing: what no replica had was refused",
        run=partial(_kill_ahead_of_its_replica, waits=True),
    ),
    Scenario(
        name="sentinel-data-cut",
        title=f"Primary killed under load, {CUT_PERCENT} % of its file cut off, started at once; Sentinels watch",
        bound="nothing that the sidecars know: their journals bring it back",
        run=cut_primary,
    ),
]
