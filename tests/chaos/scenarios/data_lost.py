"""The store loses its newest data, some or all of it; the journals bring it back."""

from collections.abc import Awaitable, Callable
from functools import partial

from ledger.connection import connect
from tests.chaos.recovery import replayed, until_quiet
from tests.chaos.scenario import Scenario, Stage
from tests.support.books import PATIENT
from tests.support.cut_store import CutStore, cut_store

CALLS = 400


async def cut(percent: int, store: CutStore) -> int:
    """Kill it and cut its file."""
    store.kill()
    size = store.cut(percent)
    store.start()
    return size


async def flush(store: CutStore) -> int:
    """Empty it while it goes on."""
    client = connect(store.url, PATIENT)
    await client.flushall()
    await client.aclose()
    return 0


async def run(lose: Callable[[CutStore], Awaitable[int]], stage: Stage) -> None:
    """Lose data under load, twice; what callers know must be there in the end, and only that."""
    store = await stage.enter(cut_store())
    sidecars = await stage.sidecars(store.url)
    load = await stage.load([sidecar.url for sidecar in sidecars])
    async with load.running():
        for _ in range(2):
            await load.wait_for(CALLS)
            stage.report.notes["bytes_cut"] = stage.report.notes.get("bytes_cut", 0) + await lose(store)
        await load.wait_for(CALLS)
    await load.finish()
    await until_quiet(sidecars)
    await stage.compare_exactly(load, store.url)
    stage.report.notes["replayed"] = await replayed(sidecars)


SCENARIOS = [
    *[
        Scenario(
            name=f"data-cut-{percent}",
            title=f"Store killed under load, {percent} % of its append-only file cut off, twice",
            bound="nothing that the sidecars know: their journals bring it back",
            run=partial(run, partial(cut, percent)),
            fast=percent == 100,
        )
        for percent in (1, 5, 33, 100)
    ],
    Scenario(
        name="data-flushed",
        title="FLUSHALL under load, twice",
        bound="nothing that the sidecars know: their journals bring it back",
        run=partial(run, flush),
        fast=True,
    ),
]
