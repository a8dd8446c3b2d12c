"""A store that evicts keys when its memory is full: what that costs, and that it is told before."""

import json
import subprocess
import sys
from typing import Final

import redis.asyncio as redis

from tests.chaos.recovery import metric
from tests.chaos.scenario import Scenario, Stage
from tests.support.processes import ROOT
from tests.support.stores import store_process

CALLS: Final = 600
ROOM_BYTES: Final = 256 * 1024


async def run(stage: Stage) -> None:
    """Let callers go on until keys are evicted; what is lost is counted, and nothing else is wrong."""
    store = await stage.enter(store_process())
    async with redis.Redis.from_url(store.url) as client:
        await client.config_set("maxmemory-policy", "allkeys-lru")
        sidecars = await stage.sidecars(store.url)
        unsafe = [await metric(sidecar, 'spendgate_store_unsafe{reason="eviction"}') for sidecar in sidecars]
        load = await stage.load([sidecar.url for sidecar in sidecars])
        async with load.running():
            await load.wait_for(CALLS)
            used = (await client.info("memory"))["used_memory"]
            await client.config_set("maxmemory", used + ROOM_BYTES)
            await load.wait_for(2 * CALLS)
        evicted = (await client.info("stats"))["evicted_keys"]
    stage.report.notes |= {"keys_evicted": evicted, "doctor": _doctor(store.url, stage.workspace)}
    warned = [("maxmemory-policy" in sidecar.log.read_text()) for sidecar in sidecars]
    stage.expect(all(unsafe) and all(warned), f"sidecars were silent about it: {unsafe}, {warned}")
    stage.expect(evicted > 0, "nothing was evicted")
    await stage.compare(load, store.url)
    stage.expect(not load.truth.misdirected, f"{load.truth.misdirected} replies reached the wrong caller")


def _doctor(url: str, workspace: str) -> list[str]:
    """Return the reasons why `spendgate doctor` finds the store unsafe."""
    command = [sys.executable, "-m", "cli.main", "doctor", "--redis-url", url, "--workspace", workspace, "--json"]
    document = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=False).stdout)
    return sorted({finding["reason"] for finding in document["findings"] if finding["unsafe"]})


SCENARIO = Scenario(
    name="eviction",
    title="Store with `maxmemory-policy allkeys-lru` and its memory full",
    bound="**anything**: evicted spend is forgotten; so each sidecar and `spendgate doctor` warn of the policy",
    run=run,
)
