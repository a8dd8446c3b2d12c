"""The lanes of all partitions and the breakers in front of their stores: one for all, or on a Cluster one for each."""

from collections.abc import Sequence
from functools import partial
from typing import Final

from ledger.background import Background
from ledger.operations import Admission, Admitted, Resolution, Resolved
from ledger.redis_ledger import RedisLedger
from ledger.store_url import StoreKind, StoreUrl
from sidecar.breaker import Breaker, BreakerLimits, BreakerState, Prober
from sidecar.coalescer import Lane, LaneLimits
from sidecar.enforcer import Lanes
from sidecar.journal import Journal
from sidecar.metrics import Metrics
from sidecar.settings import Settings
from sidecar.store_clock import StoreClock
from sidecar.store_watch import StoreWatch

ANSWER_MARGIN_S: Final = 0.01
"""Kept of the deadline for encoding and sending an answer."""


def make_breakers(settings: Settings, metrics: Metrics) -> list[Breaker]:
    """Return the breaker of each partition: on a Cluster one server fails without the others, else all share one."""
    limits = BreakerLimits(failure_pct=settings.breaker_failure_pct, longest_pause_s=settings.breaker_pause_ms / 1000)
    is_shared = StoreUrl.parse(settings.redis_url).kind is not StoreKind.CLUSTER
    breakers: list[Breaker] = []

    def on_change(state: BreakerState) -> None:
        metrics.record_breaker(state, now_open=sum(breaker.is_open for breaker in breakers))

    breakers += [Breaker(limits, on_change=on_change) for _ in range(1 if is_shared else settings.partitions)]
    return breakers


def make_lanes(ledger: RedisLedger, settings: Settings, metrics: Metrics, clock: StoreClock, journal: Journal) -> Lanes:
    """Return the lanes of every partition; what they have done goes into the journal."""
    limits = LaneLimits(
        max_batch=settings.max_batch,
        max_queue=settings.max_queue,
        command_timeout_s=settings.command_timeout_ms / 1000,
        deadline_s=settings.deadline_ms / 1000 - ANSWER_MARGIN_S,
    )
    made = make_breakers(settings, metrics)
    breakers = [made[number % len(made)] for number in range(settings.partitions)]
    numbered = list(enumerate(breakers))

    async def admit(number: int, admissions: Sequence[Admission]) -> list[Admitted]:
        # What is not answered in time is answered by the failure policy; it must not land afterwards.
        last_ms = clock.now_ms() + settings.command_timeout_ms
        for admission in admissions:
            admission.not_after_ms = min(admission.not_after_ms, last_ms)
        answers = await ledger.admit(admissions)
        journal.note_admissions(number, ledger.places[number], admissions, answers)
        return answers

    async def resolve(number: int, resolutions: Sequence[Resolution]) -> list[Resolved]:
        answers = await ledger.resolve(resolutions)
        journal.note_resolutions(number, ledger.places[number], resolutions, answers)
        return answers

    return Lanes(
        partition_of=ledger.partition_of,
        admit=[Lane(partial(admit, each), limits, metrics.record_batch, breaker) for each, breaker in numbered],
        resolve=[Lane(partial(resolve, each), limits, metrics.record_batch, breaker) for each, breaker in numbered],
        breakers=breakers,
    )


async def meet_store(
    settings: Settings, ledger: RedisLedger, lanes: Lanes, metrics: Metrics, background: Background
) -> None:
    """Have each breaker probe its store, and make the store known: now if it answers, else once it does."""
    breakers = list(dict.fromkeys(lanes.breakers))
    for number, breaker in enumerate(breakers):
        prober = Prober(breaker, partial(ledger.probe, number), timeout_s=settings.command_timeout_ms / 1000)
        background.start(prober.run())
    watch = StoreWatch(settings, metrics)
    greeted = await watch.greet()
    if not greeted:
        for breaker in breakers:
            breaker.trip("the store did not answer at the start")
    background.start(watch.run(greeted=greeted))


def depth(lanes: Lanes) -> int:
    """Return how many operations wait."""
    return sum(lane.depth for lane in lanes.admit) + sum(lane.depth for lane in lanes.resolve)


async def drain(lanes: Lanes) -> None:
    """Wait until everything that was queued is answered."""
    for admit, resolve in zip(lanes.admit, lanes.resolve, strict=True):
        await admit.drain()
        await resolve.drain()
