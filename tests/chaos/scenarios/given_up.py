"""Callers give up a tenth of their calls at random moments; the answers that are on their way reach nobody else."""

from collections.abc import Mapping
from typing import Any, Final

from tests.chaos.scenario import Scenario, Stage
from tests.chaos.truth import CHECK, NANOS, Deal, Truth
from tests.support.stores import store_process

SHARE: Final = 0.1
CALLS: Final = 1000


class LoneUsers(Truth):
    """Of callers who have a user each: the counters in an answer are this very call's, or the answer is another's."""

    def is_about(self, deal: Deal, document: Mapping[str, Any]) -> bool:
        """Say whether the counters of an exact answer have this deal's amount, which hardly another one shares."""
        if deal.is_admitted:
            return Truth.is_about(self, deal, document)
        counter = document["spend_usd" if deal.operation == CHECK else "held_usd"]
        return bool(counter == deal.estimate_nanos / NANOS)


async def run(stage: Stage) -> None:
    """Call, give up, ask again by the same id; each answer is its caller's, each id is charged once."""
    store = await stage.enter(store_process())
    sidecars = await stage.sidecars(store.url)
    urls = [sidecar.url for sidecar in sidecars]
    load = await stage.load(urls, users=None, give_up_share=SHARE, truth=LoneUsers())
    async with load.running():
        await load.wait_for(CALLS)
    stage.report.notes["given_up"] = load.given_up
    stage.expect(load.given_up, "no call was given up")
    await stage.compare_exactly(load, store.url)


SCENARIO = Scenario(
    name="calls-given-up",
    title=f"Callers give up {SHARE:.0%} of their calls after up to 10 ms, unless they are answered before",
    bound="nothing; no answer reaches another caller",
    run=run,
    fast=True,
)
