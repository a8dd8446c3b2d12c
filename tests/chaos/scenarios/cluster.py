"""A Cluster under load: a primary that dies, slots that move key by key."""

import time
from functools import partial
from typing import Final

from redis.crc import key_slot

from tests.chaos.load import Load
from tests.chaos.scenario import Scenario, Stage, off_the_loop
from tests.conftest import server_binaries
from tests.support.servers import ClusterStore, cluster_store, until

PARTITIONS: Final = 16
MOVED: Final = 4
DURABLE: Final = ("--appendonly", "yes")


def slot_of_partition(number: int) -> int:
    """Return the slot that all keys of a partition are in."""
    return key_slot(str(number).encode())


async def _start(stage: Stage, *, replicas: int) -> tuple[ClusterStore, Load]:
    """Run it on the older server, whose slots move only key by key."""
    store = await stage.enter(cluster_store(server_binaries().get("redis"), *DURABLE, replicas=replicas))
    sidecars = await stage.sidecars(store.url, partitions=PARTITIONS)
    return store, await stage.load([sidecar.url for sidecar in sidecars])


async def kill_a_primary(stage: Stage) -> None:
    """Kill the primary of some partitions for good; its replica takes over by itself."""
    store, load = await _start(stage, replicas=1)
    slot = slot_of_partition(0)
    async with load.running():
        await load.wait_for(300)
        killed = store.server_of(slot)
        killed_s = time.monotonic()
        killed.kill()
        await off_the_loop(partial(until, lambda: store.server_of(slot) is not killed, "a failover"))
        stage.report.notes["failover_s"] = round(time.monotonic() - killed_s, 2)
        await load.wait_for(600)
        await off_the_loop(killed.start)
        await load.wait_for(300)
    await stage.compare_but_for_losses(load, store.url)


async def move_slots(stage: Stage) -> None:
    """Move the slots of four partitions to other servers, one after another, while their users are charged."""
    store, load = await _start(stage, replicas=0)
    async with load.running():
        await load.wait_for(600)
        for number in range(MOVED):
            slot = slot_of_partition(number)
            target = next(server for server in store.primaries if server is not store.server_of(slot))
            await off_the_loop(partial(store.move_slot, slot, target, keys_at_once=1))
            await load.wait_for(100)
    await stage.compare_exactly(load, store.url)


SCENARIOS = [
    Scenario(
        name="cluster-primary-killed",
        title="Primary of a Cluster killed under load; its replica takes over",
        bound="what had not reached the replica, until the journals bring it back",
        run=kill_a_primary,
    ),
    Scenario(
        name="cluster-slots-moved",
        title="Four slots of a Cluster moved key by key under load",
        bound="nothing",
        run=move_slots,
        fast=True,
    ),
]
