"""One of two sidecars is cut off from the store for three seconds, under each policy of its rules."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from ledger.money import usd_text
from tests.chaos.scenario import FAR_LIMIT_USD, Scenario, Stage
from tests.chaos.truth import CHECK, Deal, Truth
from tests.support.apps import Answer
from tests.support.processes import template
from tests.support.store_proxy import StoreProxy
from tests.support.stores import store_process

PARTED_S: Final = 3.0
X_NANOS: Final = 20_000_000
UNBOUNDED: Final = 1 << 62


@dataclass(slots=True)
class LetThrough(Truth):
    """What callers know, and which checks each sidecar has allowed without the store; nano-USD by request id.

    By sidecar and user: each sidecar has an allowance of its own, and on a busy machine the other one misses the store
    at times as well.
    """

    let_through: dict[tuple[str, str], dict[str, int]] = field(default_factory=lambda: defaultdict(dict))

    def note(self, deal: Deal, answer: Answer | None, at_s: float, url: str = "") -> bool:
        """Note an answer."""
        if answer is not None and answer.status == 200 and deal.operation == CHECK:
            document = answer.document
            if document["degraded"] and document["allowed"]:
                self.let_through[url, deal.user_id][deal.request_id] = deal.estimate_nanos
        return Truth.note(self, deal, answer, at_s, url)

    @property
    def most_nanos(self) -> int:
        """The most that one sidecar has let through for one user."""
        return max([sum(calls.values()) for calls in self.let_through.values()], default=0)


async def run(stage: Stage, policy: object, bound_nanos: int) -> None:
    """Part them under load, and let them come together again."""
    store = await stage.enter(store_process())
    rules = [template("free", FAR_LIMIT_USD, on_store_failure=policy)]
    async with StoreProxy(store.url).running() as proxy:
        (parted,) = await stage.sidecars(proxy.url, count=1, rules=rules)
        (other,) = await stage.sidecars(store.url, count=1, rules=rules)
        truth = LetThrough()
        load = await stage.load([parted.url, other.url], truth=truth)
        async with load.running():
            await load.wait_for(300)
            proxy.part()
            await asyncio.sleep(PARTED_S)
            proxy.join()
            await load.wait_for(300)
        stage.report.notes["most_let_through_usd"] = usd_text(truth.most_nanos)
        stage.expect(
            truth.most_nanos <= bound_nanos,
            f"{usd_text(truth.most_nanos)} USD were let through for a user by one sidecar",
        )
        stage.expect((truth.most_nanos > 0) == (bound_nanos > 0), "the policy was not followed")
        await stage.compare_exactly(load, store.url)


def _scenario(name: str, words: str, policy: object, bound: str, bound_nanos: int, *, fast: bool = False) -> Scenario:
    return Scenario(
        name=f"parted-{name}",
        title=f"One of two sidecars cut off from the store for 3 s, {words}",
        bound=bound,
        run=partial(run, policy=policy, bound_nanos=bound_nanos),
        fast=fast,
    )


SCENARIOS = [
    _scenario("deny", "policy deny", "deny", "nothing; calls are refused there", 0),
    _scenario("allow", "policy allow", "allow", "nothing; calls there pass no limit meanwhile", UNBOUNDED),
    _scenario(
        "allowance",
        f"allowance {usd_text(X_NANOS)} USD",
        {"allow_up_to_usd": usd_text(X_NANOS)},
        f"nothing; at most {usd_text(X_NANOS)} USD a user and sidecar pass the limit meanwhile",
        X_NANOS,
        fast=True,
    ),
]
