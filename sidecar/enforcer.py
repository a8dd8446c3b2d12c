"""The use cases of the data plane: admit, resolve, batch, usage, explain. Rules, prices and policies meet here."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any, Final, TypeVar

from ledger.decisions import Decision, Operation, Settlement, StalePlan, TooLate
from ledger.errors import LedgerError, StoreError, StoreNotAsked, StoreUnavailable
from ledger.operations import Admission, Admitted, Ledger, Resolution, Resolved
from sidecar.breaker import Breaker
from sidecar.coalescer import Lane
from sidecar.failure_policy import FailurePolicy
from sidecar.intake import Intake
from sidecar.journal import Journal
from sidecar.metrics import Metrics
from sidecar.pricing import Pricing
from sidecar.requests import AdmitRequest, Request, ResolveRequest
from sidecar.rule_cache import RuleCache
from sidecar.store_clock import StoreClock
from sidecar.views import Explanation, UsageView, explanation, usage_view

TURN_S: Final = 0.005
"""A fresh request has its whole deadline, but for what its turn of the loop took."""

ACCEPTED: Final = frozenset({Operation.SETTLE, Operation.RELEASE, Operation.RECORD})
"""What is accepted without the store: the journal brings it there."""

Answered = Decision | Settlement | LedgerError
Tell = Callable[[Decision | Settlement | Exception], None]
"""Hears the answer to an operation, once."""
Operations = TypeVar("Operations")
Answer = TypeVar("Answer")


@dataclass(slots=True)
class _Call:
    """A check or reserve under way; `deadline_s` is the loop's time, `started_s` that of the performance counter."""

    request: AdmitRequest
    admission: Admission
    deadline_s: float
    started_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Lanes:
    """The queues in front of the store, one of each for every partition, and the breaker of each.

    Partitions of one store share its breaker.
    """

    partition_of: Callable[[str], int]
    admit: Sequence[Lane[Admission, Admitted]]
    resolve: Sequence[Lane[Resolution, Resolved]]
    breakers: Sequence[Breaker]


class Enforcer:
    """Answers the sidecar's operations. `deadline_s` bounds a decision from its arrival, whatever the store does."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        lanes: Lanes,
        rules: RuleCache,
        clock: StoreClock,
        policy: FailurePolicy,
        pricing: Pricing,
        journal: Journal,
        metrics: Metrics,
        deadline_s: float,
    ) -> None:
        self._ledger = ledger
        self._lanes = lanes
        self._rules = rules
        self._clock = clock
        self._intake = Intake(rules, clock, pricing)
        self._policy = policy
        self._pricing = pricing
        self._journal = journal
        self._metrics = metrics
        self._deadline_s = deadline_s
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    async def admit(self, request: AdmitRequest) -> Decision:
        """Answer a check or a reserve; without the store the rules' failure policy answers.

        Raises `LedgerError` for what is no decision: another body under a known request id, an overflow.
        """
        return await self._admit(request, self._loop.time() + self._deadline_s)

    async def resolve(self, request: ResolveRequest) -> Settlement:
        """Answer a settle, release or extend; raises `LedgerError`, `StoreError` if the store gave no answer."""
        return await self._resolve(request, self._loop.time() + self._deadline_s)

    def start(self, request: Request, tell: Tell) -> None:
        """Answer any operation as `admit` and `resolve` do, later, by calling `tell` with the answer or the error.

        Where the store's answer is all it takes, which is nearly always, no task is made for it.
        """
        deadline_s = self._loop.time() + self._deadline_s
        try:
            if isinstance(request, AdmitRequest):
                self._start_admit(self._call(request, deadline_s), tell)
            else:
                self._start_resolve(request, self._intake.resolution(request), tell)
        except Exception as error:
            self._loop.call_soon(tell, error)

    async def batch(self, requests: Sequence[Request]) -> list[Answered]:
        """Answer operations in order, each on its own: an error stands in the place of its operation.

        Admissions in a row go to the store together, and so do settles, releases and extends in a row. One deadline
        holds for all: what has not been sent by then is answered as without the store.
        """
        deadline_s = self._loop.time() + self._deadline_s
        answers: list[Answered] = []
        for _, group in groupby(requests, key=type):
            answers += await asyncio.gather(*[self._answer(request, deadline_s) for request in group])
        return answers

    async def drain(self) -> None:
        """Wait until what was begun by `start`, and is not the lanes' any more, is told."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def usage(self, user_id: str, tier: str | None) -> UsageView:
        """Read what a user has spent and holds; raises `StoreError`."""
        self._lanes.breakers[self._lanes.partition_of(user_id)].check()
        plan = self._intake.plan(user_id, tier, self._clock.now_ms())
        usage = await self._ledger.usage(user_id, plan)
        if not plan.valid_from_ms <= usage.at_ms < plan.valid_until_ms:
            self._clock.observe(usage.at_ms)
            plan = self._intake.plan(user_id, tier, usage.at_ms)
            usage = await self._ledger.usage(user_id, plan)
        return usage_view(user_id, tier, plan, usage)

    def explain(self, user_id: str, tier: str | None) -> Explanation:
        """Tell which rules apply to a user now and which were skipped; asks nobody."""
        return explanation(self._rules.current, user_id, tier, self._clock.now_ms())

    async def _answer(self, request: Request, deadline_s: float) -> Answered:
        try:
            if isinstance(request, AdmitRequest):
                return await self._admit(request, deadline_s)
            return await self._resolve(request, deadline_s)
        except LedgerError as error:
            return error

    async def _tell(self, answer: Coroutine[Any, Any, Decision | Settlement], tell: Tell) -> None:
        told: Decision | Settlement | Exception
        try:
            told = await answer
        except Exception as error:
            told = error
        tell(told)

    def _tell_later(self, answer: Coroutine[Any, Any, Decision | Settlement], tell: Tell) -> None:
        task = self._loop.create_task(self._tell(answer, tell))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Checks and reserves.

    def _call(self, request: AdmitRequest, deadline_s: float) -> _Call:
        started_s = time.perf_counter()  # The loop's own clock ticks in whole milliseconds.
        admission = self._intake.admission(request, self._clock.now_ms(), deadline_s - self._loop.time())
        return _Call(request, admission, deadline_s, started_s)

    async def _admit(self, request: AdmitRequest, deadline_s: float) -> Decision:
        call = self._call(request, deadline_s)
        try:
            asked = self._ask(self._lane(call.admission), call.admission, deadline_s)
        except StoreError as error:
            return await self._without_store(call, error)
        try:
            answer = await asked
        except StoreError as error:
            return await self._without_store(call, error)
        return await self._end_admit(call, answer)

    def _start_admit(self, call: _Call, tell: Tell) -> None:
        try:
            self._lane(call.admission).ask(call.admission, partial(self._admitted, call, tell))
        except StoreError as error:
            self._tell_later(self._without_store(call, error), tell)

    def _admitted(self, call: _Call, tell: Tell, answer: Admitted) -> None:
        if not isinstance(answer, Decision):
            self._tell_later(self._end_admit(call, answer), tell)
            return
        answer.on_store_failure = call.admission.plan.on_store_failure
        tell(answer)
        self._decided(call, answer)  # Afterwards, because the caller need not wait for it.

    async def _end_admit(self, call: _Call, answer: Admitted) -> Decision:
        try:
            if isinstance(answer, StoreError):
                raise answer
            if isinstance(answer, StalePlan | TooLate):
                answer = await self._ask_again(call, answer.store_ms)
        except StoreError as error:
            return await self._without_store(call, error)
        if not isinstance(answer, Decision):
            raise answer
        answer.on_store_failure = call.admission.plan.on_store_failure
        self._decided(call, answer)
        return answer

    async def _ask_again(self, call: _Call, store_ms: int) -> Decision | LedgerError:
        """Ask once more with a new plan: the store found this one stale, or its own time past `not_after`."""
        self._clock.observe(store_ms)
        again = self._intake.admission(call.request, store_ms, call.deadline_s - self._loop.time())
        again.attempt = call.admission.attempt
        answer = await self._ask(self._lane(again), again, call.deadline_s)
        if isinstance(answer, StalePlan | TooLate):
            raise StoreUnavailable("the store's clock and this sidecar's do not come together")
        call.admission = again
        return answer

    def _decided(self, call: _Call, decision: Decision) -> None:
        """Take down what was decided."""
        self._metrics.record_decision(decision, time.perf_counter() - call.started_s)
        self._learn(call.request, decision)

    async def _without_store(self, call: _Call, error: StoreError) -> Decision:
        """Decide by the rules' failure policy, and make it durable."""
        self._metrics.record_store_error(error.code)
        decision = await self._policy.decide(call.admission, error)
        decision = await self._journal.degraded(call.admission, decision, error)
        self._decided(call, decision)
        return decision

    def _learn(self, request: AdmitRequest, decision: Decision) -> None:
        if request.usage is not None and decision.allowed and not decision.replayed:
            self._pricing.learn(request.usage, request.tier)

    def _lane(self, admission: Admission) -> Lane[Admission, Admitted]:
        """Return the lane of a check or reserve; raises `StoreNotAsked` while rules or counters cannot be trusted."""
        if self._rules.is_awaited:
            raise StoreNotAsked("no rules have come yet: there may be limits")
        partition = self._lanes.partition_of(admission.user_id)
        if partition in self._journal.recovering and admission.plan.has_blocks:
            raise StoreNotAsked("the store has lost data, which is being made good; its counters are too low")
        return self._lanes.admit[partition]

    # Settles, releases and extends.

    async def _resolve(self, request: ResolveRequest, deadline_s: float) -> Settlement:
        resolution = self._intake.resolution(request)
        try:
            asked = self._ask(self._lane_of(resolution), resolution, deadline_s)
        except StoreError as error:
            return await self._accept(request, resolution, error)
        try:
            answer = await asked
        except StoreError as error:
            return await self._accept(request, resolution, error)
        return await self._end_resolve(request, resolution, answer)

    def _start_resolve(self, request: ResolveRequest, resolution: Resolution, tell: Tell) -> None:
        try:
            self._lane_of(resolution).ask(resolution, partial(self._resolved, request, resolution, tell))
        except StoreError as error:
            self._tell_later(self._accept(request, resolution, error), tell)

    def _resolved(self, request: ResolveRequest, resolution: Resolution, tell: Tell, answer: Resolved) -> None:
        if not isinstance(answer, Settlement):
            self._tell_later(self._end_resolve(request, resolution, answer), tell)
            return
        tell(answer)
        self._settled(request, resolution, answer)  # Afterwards, because the caller need not wait for it.

    async def _end_resolve(self, request: ResolveRequest, resolution: Resolution, answer: Resolved) -> Settlement:
        if isinstance(answer, StoreError):
            return await self._accept(request, resolution, answer)
        if isinstance(answer, LedgerError):
            raise answer
        if not isinstance(answer, Settlement):
            raise StoreUnavailable("the store gave no answer")
        return self._settled(request, resolution, answer)

    async def _accept(self, request: ResolveRequest, resolution: Resolution, error: StoreError) -> Settlement:
        """Accept without the store what the journal can bring there later; raises `error` for the rest."""
        self._metrics.record_store_error(error.code)
        if resolution.operation not in ACCEPTED:
            raise error
        accepted = await self._journal.accept(resolution, error, tier=request.tier)
        return self._settled(request, resolution, accepted)

    def _settled(self, request: ResolveRequest, resolution: Resolution, settlement: Settlement) -> Settlement:
        """Take down what has become of a hold."""
        self._policy.settled(resolution)
        self._metrics.record_settlement(settlement)
        if request.usage is not None and not settlement.replayed:
            self._pricing.learn(request.usage, settlement.tier)
        return settlement

    def _lane_of(self, resolution: Resolution) -> Lane[Resolution, Resolved]:
        """Return the lane of a settle, release or extend; raises `StoreNotAsked` for what would overtake another."""
        if self._journal.has_open(resolution.user_id, resolution.request_id):
            raise StoreNotAsked("the journal has something about this call that the store must hear of first")
        return self._lanes.resolve[self._lanes.partition_of(resolution.user_id)]

    def _ask(self, lane: Lane[Operations, Answer], operation: Operations, deadline_s: float) -> Awaitable[Answer]:
        """Put an operation to the store. A lane gives it a whole deadline; one that has less left is bounded here.

        Raises `StoreError` at once for what is not sent.
        """
        left_s = deadline_s - self._loop.time()
        if left_s <= 0:
            raise StoreNotAsked("the deadline has passed; nothing was sent")
        asked = lane.submit(operation)
        return asked if left_s > self._deadline_s - TURN_S else _within(left_s, asked)


async def _within(left_s: float, asked: "asyncio.Future[Answer]") -> Answer:
    try:
        async with asyncio.timeout(left_s):
            return await asked
    except TimeoutError:
        raise StoreUnavailable("the store did not answer within the deadline") from None
