"""A primary that dies with a replica that is behind: what is lost without `wait_for_replica`, and what with it."""

import time
from functools import partial
from typing import Final

from tests.chaos.scenario import FAR_LIMIT_USD, Scenario, Stage, off_the_loop
from tests.support.processes import template
from tests.support.servers import sentinel_store, until

CALLS_BEHIND: Final = 400
DURABLE: Final = ("--appendonly", "yes")


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
    comparison = await stage.compare_but_for_losses(load, store.url)
    stage.expect(not waits or comparison.lost == 0, f"{comparison.lost} calls were lost that a replica should have had")


SCENARIOS = [
    Scenario(
        name="sentinel-primary-killed-lagging",
        title="Primary killed while its replica hangs; Sentinels make the replica the primary",
        bound="what the replica had not got, until the journals bring it back",
        run=partial(_kill_ahead_of_its_replica, waits=False),
    ),
    Scenario(
        name="sentinel-primary-killed-waiting",
        title="The same under `wait_for_replica`",
        bound="nothing: what no replica had was refused",
        run=partial(_kill_ahead_of_its_replica, waits=True),
    ),
]
