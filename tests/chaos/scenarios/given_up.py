"""Callers give up a tenth of what they ask at random moments; the answers that are on their way reach nobody else."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.chaos.lines import Line, stream_line
from tests.chaos.load import Load
from tests.chaos.scenario import Scenario, Stage
from tests.chaos.truth import CHECK, NANOS, Deal, Truth
from tests.support.apps import Answer
from tests.support.stores import store_process

SHARE: Final = 0.1
AIM: Final = 0.11
"""A little more than the share: the last calls that are to be given up may be answered before."""
CALLS: Final = 600
HANG_UPS: Final = 5


@dataclass(slots=True)
class LoneUsers(Truth):
    """Of callers who have a user each: the counters in an answer are this very call's, or the answer is another's.

    `landed` counts the answers of the ledger that it had given before: to somebody who had given up.
    """

    landed: int = 0

    def note(self, deal: Deal, answer: Answer | None, at_s: float, url: str = "") -> bool:
        """Note an answer."""
        is_exact = Truth.note(self, deal, answer, at_s, url)
        self.landed += is_exact and answer is not None and answer.document["replayed"]
        return is_exact

    def is_about(self, deal: Deal, document: Mapping[str, Any]) -> bool:
        """Say whether the counters of an exact answer have this deal's amount, which hardly another one shares."""
        if deal.is_admitted:
            return Truth.is_about(self, deal, document)
        counter = document["spend_usd" if deal.operation == CHECK else "held_usd"]
        return bool(counter == deal.estimate_nanos / NANOS)


async def over_http(stage: Stage) -> None:
    """Call, give up by closing the connection, ask again by the same id."""
    load, store_url = await _start(stage)
    async with load.running():
        await load.wait_for(CALLS)
    await _compare(stage, load, store_url)


async def over_streams(stage: Stage) -> None:
    """The same, all callers on one stream to each sidecar; it is closed under them time and again as well."""
    line = await stage.enter_async(stream_line())
    load, store_url = await _start(stage, line)
    async with load.running():
        for _ in range(HANG_UPS):
            await load.wait_for(CALLS // HANG_UPS)
            await line.hang_up()
        await load.wait_for(CALLS // HANG_UPS)
    await _compare(stage, load, store_url)


async def _start(stage: Stage, line: Line | None = None) -> tuple[Load, str]:
    store = await stage.enter(store_process())
    sidecars = await stage.sidecars(store.url)
    urls = [sidecar.url for sidecar in sidecars]
    load = await stage.load(urls, line=line, users=None, give_up_share=AIM, truth=LoneUsers())
    return load, store.url


async def _compare(stage: Stage, load: Load, store_url: str) -> None:
    """Each answer is its caller's, each id is charged once, and so many were given up."""
    await stage.compare_exactly(load, store_url)
    given_up = load.given_up / load.asked
    stage.report.notes["asked"] = load.asked
    stage.report.notes["given_up_pct"] = round(100 * given_up, 1)
    stage.report.notes["charged_all_the_same"] = load.truth.landed if isinstance(load.truth, LoneUsers) else 0
    stage.expect(given_up >= SHARE, f"only {given_up:.1%} of what was asked was given up")
    stage.expect(stage.report.notes["charged_all_the_same"], "no call that was given up had reached the ledger")


def _scenario(name: str, words: str, run: Any) -> Scenario:
    return Scenario(
        name=f"{name}-given-up",
        title=f"Callers give up {SHARE:.0%} of what they ask at random moments before the answer, {words}",
        bound="nothing; no answer reaches another caller",
        run=run,
        fast=True,
    )


SCENARIOS = [
    _scenario("calls", "over HTTP", over_http),
    _scenario("streams", f"over one stream a sidecar, which is closed under them {HANG_UPS} times", over_streams),
]
