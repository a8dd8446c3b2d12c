"""A Cluster under load: a primary that dies, slots that move key by key."""

import time
from functools import partial
from typing import Final

from redis.crc import key_slot

from tests.chaos.load import Load
from tests.chaos.recovery import replayed, until_quiet
from tests.chaos.scenario import Scenario, Stage, off_the_loop
from tests.conftest import server_binaries
from tests.support.cut_store import cut_newest
from tests.support.processes import SidecarProcess
from tests.support.servers import ClusterStore, cluster_store, until

PARTITIONS: Final = 16
MOVED: Final = 4
DURABLE: Final = ("--appendonly", "yes", "--auto-aof-rewrite-percentage", "0")
CUT_PERCENT: Final = (33, 100)


def slot_of_partition(number: int) -> int:
    """Return the slot that all keys of a partition are in."""
    return key_slot(str(number).encode())


async def _start(stage: Stage, *, replicas: int) -> tuple[ClusterStore, list[SidecarProcess], Load]:
    """Run it on the older server, whose slots move only key by key."""
    store = await stage.enter(cluster_store(server_binaries().get("redis"), *DURABLE, replicas=replicas))
    sidecars = await stage.sidecars(store.url, partitions=PARTITIONS)
    return store, sidecars, await stage.load([sidecar.url for sidecar in sidecars])


async def kill_a_primary(stage: Stage) -> None:
    """Kill the primary of some partitions for good; its replica takes over by itself."""
    store, sidecars, load = await _start(stage, replicas=1)
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
    await load.finish()
    await until_quiet(sidecars)
    await stage.compare_exactly(load, store.url)


async def cut_primaries(stage: Stage) -> None:
    """Kill two servers one after the other, cut their files, and start them on what is left; nobody takes over."""
    store, sidecars, load = await _start(stage, replicas=0)
    async with load.running():
        for server, percent in zip(store.primaries, CUT_PERCENT, strict=False):
            await load.wait_for(400)
            server.kill()
            cut_newest(server.directory, percent)
            await off_the_loop(server.start)
        await load.wait_for(400)
    await load.finish()
    await until_quiet(sidecars)
    await stage.compare_exactly(load, store.url)
    stage.report.notes["replayed"] = await replayed(sidecars)


async def move_slots(stage: Stage) -> None:
    """Move the slots of four partitions to other servers, one after another, while their users are charged."""
    store, _, load = await _start(stage, replicas=0)
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
        bound="nothing that the sidecars know: their journals bring back what had not reached the replica",
        run=kill_a_primary,
    ),
    Scenario(
        name="cluster-data-cut",
        title="Two servers of a Cluster killed under load, 33 and 100 % of their files cut off",
        bound="nothing that the sidecars know: their journals bring it back",
        run=cut_primaries,
    ),
    Scenario(
        name="cluster-slots-moved",
        title="Four slots of a Cluster moved key by key under load",
        bound="nothing",
        run=move_slots,
        fast=True,
    ),
]
