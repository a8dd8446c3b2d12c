"""The lanes of all partitions and the breakers in front of their stores: one for all, or on a Cluster one for each."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final, Generic, TypeVar

from ledger.background import Background
from ledger.operations import Admission, Admitted, Resolution, Resolved
from ledger.redis_ledger import RedisLedger
from ledger.store_url import StoreKind, StoreUrl
from sidecar.breaker import Breaker, BreakerLimits, BreakerState, Prober
from sidecar.coalescer import GiveUp, Lane, LaneLimits, Start, Told
from sidecar.enforcer import Lanes
from sidecar.journal import Journal
from sidecar.metrics import Metrics
from sidecar.settings import Settings
from sidecar.store_clock import StoreClock
from sidecar.store_watch import StoreWatch

Operation = TypeVar("Operation")
Answer = TypeVar("Answer")

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

    def bound(admissions: Sequence[Admission]) -> None:
        # What is not answered in time is answered by the failure policy; it must not land afterwards.
        last_ms = clock.now_ms() + settings.command_timeout_ms
        for admission in admissions:
            admission.not_after_ms = min(admission.not_after_ms, last_ms)

    def note_admitted(number: int, admissions: Sequence[Admission], answers: Sequence[Admitted]) -> None:
        journal.note_admissions(number, ledger.places[number], admissions, answers)

    def note_resolved(number: int, resolutions: Sequence[Resolution], answers: Sequence[Resolved]) -> None:
        journal.note_resolutions(number, ledger.places[number], resolutions, answers)

    def lane(runs: "_Runs[Operation, Answer]", breaker: Breaker) -> Lane[Operation, Answer]:
        return Lane(runs.run, limits, metrics.record_batch, breaker, start=runs.start)

    admitting = [_Runs(ledger.admit, ledger.start_admit, partial(note_admitted, each), bound) for each, _ in numbered]
    resolving = [_Runs(ledger.resolve, ledger.start_resolve, partial(note_resolved, each)) for each, _ in numbered]
    return Lanes(
        partition_of=ledger.partition_of,
        admit=[lane(runs, breaker) for runs, breaker in zip(admitting, breakers, strict=True)],
        resolve=[lane(runs, breaker) for runs, breaker in zip(resolving, breakers, strict=True)],
        breakers=breakers,
    )


class _Runs(Generic[Operation, Answer]):
    """What a lane asks of the ledger: `run` does a batch whatever it takes, `start` only if it can be sent at once.

    `prepare` sees operations before they are sent, `note` hears their answers in the step in which the callers do:
    after them, because nobody waits for what is noted.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Operation]], Awaitable[list[Answer]]],
        start: Start[Operation, Answer],
        note: Callable[[Sequence[Operation], Sequence[Answer]], None],
        prepare: Callable[[Sequence[Operation]], None] = lambda _operations: None,
    ) -> None:
        self._run = run
        self._start = start
        self._note = note
        self._prepare = prepare

    async def run(self, operations: Sequence[Operation]) -> list[Answer]:
        self._prepare(operations)
        return await self._noted(operations, partial(self._run, operations))

    def start(self, operations: Sequence[Operation], tell: Callable[[Told[Answer]], None]) -> GiveUp | None:
        self._prepare(operations)
        return self._start(operations, partial(self._told, operations, tell))

    def _told(self, operations: Sequence[Operation], tell: Callable[[Told[Answer]], None], told: Told[Answer]) -> None:
        if not isinstance(told, list):
            tell(partial(self._noted, operations, told))
            return
        tell(told)
        self._note(operations, told)

    async def _noted(
        self, operations: Sequence[Operation], answers: Callable[[], Awaitable[list[Answer]]]
    ) -> list[Answer]:
        told = await answers()
        self._note(operations, told)
        return told


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
