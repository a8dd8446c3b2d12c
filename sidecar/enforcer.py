"""The use cases of the data plane: admit, resolve, batch, usage, explain. Rules, prices and policies meet here."""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final, TypeVar

from ledger.decisions import Decision, Operation, Reason, Settlement, StalePlan, TooLate
from ledger.errors import LedgerError, StoreError, StoreUnavailable
from ledger.operations import Admission, Admitted, Ledger, Resolution, Resolved, sent_text
from ledger.plans import Plan
from ledger.rules import Action, PolicyKind
from sidecar.coalescer import Lane
from sidecar.failure_policy import degraded_decision
from sidecar.metrics import Metrics
from sidecar.plan_cache import PlanCache
from sidecar.requests import AdmitRequest, Request, ResolveRequest
from sidecar.rule_cache import RuleCache
from sidecar.store_clock import StoreClock
from sidecar.views import Explanation, UsageView, explanation, usage_view

ATTEMPTS: Final = 2
"""An operation whose plan was stale, or that reached the store too late, is repeated once."""

Answered = Decision | Settlement | LedgerError
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lanes:
    """The queues in front of the store, one of each for every partition."""

    partition_of: Callable[[str], int]
    admit: Sequence[Lane[Admission, Admitted]]
    resolve: Sequence[Lane[Resolution, Resolved]]


class Enforcer:
    """Answers the sidecar's operations. `deadline_s` bounds a decision from its arrival, whatever the store does."""

    def __init__(
        self, *, ledger: Ledger, lanes: Lanes, rules: RuleCache, clock: StoreClock, metrics: Metrics, deadline_s: float
    ) -> None:
        self._ledger = ledger
        self._lanes = lanes
        self._rules = rules
        self._plans = PlanCache()
        self._clock = clock
        self._metrics = metrics
        self._deadline_s = deadline_s
        self._loop = asyncio.get_running_loop()

    async def admit(self, request: AdmitRequest) -> Decision:
        """Answer a check or a reserve; without the store the rules' failure policy answers.

        Raises `LedgerError` for what is no decision: another body under a known request id, an overflow.
        """
        started = time.perf_counter()  # The loop's own clock ticks in whole milliseconds.
        deadline_s = self._loop.time() + self._deadline_s
        admission = self._admission(request)
        try:
            decision = await self._decide(admission, deadline_s)
        except StoreError as error:
            self._metrics.record_store_error(error.code)
            decision = degraded_decision(admission, error, self._clock.now_ms())
        self._metrics.record_decision(decision, time.perf_counter() - started)
        return decision

    async def resolve(self, request: ResolveRequest) -> Settlement:
        """Answer a settle, release or extend; raises `LedgerError`, `StoreError` if the store gave no answer."""
        resolution = self._resolution(request)
        lane = self._lanes.resolve[self._lanes.partition_of(request.user_id)]
        try:
            answer = await lane.submit(resolution)
        except StoreError as error:
            self._metrics.record_store_error(error.code)
            raise
        if not isinstance(answer, Settlement):
            raise answer or StoreUnavailable("the store gave no answer")
        self._metrics.record_settlement(answer)
        return answer

    async def batch(self, requests: Sequence[Request]) -> list[Answered]:
        """Answer operations in order, each on its own: an error stands in the place of its operation.

        Admissions in a row go to the store together, and so do settles, releases and extends in a row.
        """
        answers: list[Answered] = []
        for _, group in groupby(requests, key=type):
            answers += await asyncio.gather(*[self._answer(request) for request in group])
        return answers

    async def usage(self, user_id: str, tier: str | None) -> UsageView:
        """Read what a user has spent and holds; raises `StoreError`."""
        plan = self._plan(user_id, tier, self._clock.now_ms())
        usage = await self._ledger.usage(user_id, plan)
        if not plan.valid_from_ms <= usage.at_ms < plan.valid_until_ms:
            self._clock.observe(usage.at_ms)
            plan = self._plan(user_id, tier, usage.at_ms)
            usage = await self._ledger.usage(user_id, plan)
        return usage_view(user_id, tier, plan, usage)

    def explain(self, user_id: str, tier: str | None) -> Explanation:
        """Tell which rules apply to a user now and which were skipped; asks nobody."""
        return explanation(self._rules.current, user_id, tier, self._clock.now_ms())

    async def _answer(self, request: Request) -> Answered:
        try:
            if isinstance(request, AdmitRequest):
                return await self.admit(request)
            return await self.resolve(request)
        except LedgerError as error:
            return error

    async def _decide(self, admission: Admission, deadline_s: float) -> Decision:
        lane = self._lanes.admit[self._lanes.partition_of(admission.user_id)]
        answer = await lane.submit(admission)
        for _ in range(ATTEMPTS - 1):
            if isinstance(answer, Decision):
                return answer
            if isinstance(answer, LedgerError):
                raise answer
            self._refresh(admission, answer, deadline_s)
            answer = await self._until(lane.submit(admission), deadline_s)
        if isinstance(answer, StalePlan | TooLate):
            raise StoreUnavailable("the store's clock and this sidecar's do not come together")
        if isinstance(answer, LedgerError):
            raise answer
        return answer

    def _refresh(self, admission: Admission, answer: StalePlan | TooLate, deadline_s: float) -> None:
        """Plan again at the store's time, which it has just told."""
        self._clock.observe(answer.store_ms)
        admission.plan = self._plan(admission.user_id, admission.plan.tier, answer.store_ms)
        admission.not_after_ms = answer.store_ms + int(max(0.0, deadline_s - self._loop.time()) * 1000)

    async def _until(self, future: "asyncio.Future[Answer]", deadline_s: float) -> Answer:
        try:
            async with asyncio.timeout_at(deadline_s):
                return await future
        except TimeoutError:
            raise StoreUnavailable("the store did not answer within the deadline") from None

    def _plan(self, user_id: str, tier: str | None, at_ms: int) -> Plan:
        return self._plans.get(self._rules.current, user_id, tier, at_ms)

    def _admission(self, request: AdmitRequest) -> Admission:
        now_ms = self._clock.now_ms()
        plan = self._plan(request.user_id, request.tier, now_ms)
        ttl_ms = request.ttl_s * 1000 if request.operation is Operation.RESERVE else 0
        usage = request.usage
        admission = Admission(
            operation=request.operation,
            plan=plan,
            request_id=request.request_id or secrets.token_hex(16),
            user_id=request.user_id,
            amount_nanos=request.amount_nanos or 0,
            sent=sent_text(request.operation, request.tier, amount_text(request), ttl_ms),
            not_after_ms=now_ms + int(self._deadline_s * 1000),
            ttl_ms=ttl_ms,
            model=usage.model if usage else "",
            meta=request.meta,
        )
        if usage is not None:
            cost_nanos = self._rules.current.prices.cost_nanos(usage)
            if cost_nanos is None:
                _apply_unpriced(admission)
            else:
                admission.amount_nanos = cost_nanos
        return admission

    def _resolution(self, request: ResolveRequest) -> Resolution:
        usage, amount_nanos = request.usage, request.amount_nanos
        if usage is not None:
            amount_nanos = self._rules.current.prices.cost_nanos(usage)
        plan = None
        if request.operation is Operation.SETTLE and request.reserved_at_ms is not None:
            plan = self._plan(request.user_id, request.tier, request.reserved_at_ms)
        return Resolution(
            operation=request.operation,
            user_id=request.user_id,
            request_id=request.request_id,
            amount_nanos=amount_nanos,
            sent=amount_text(request),
            ttl_ms=request.ttl_s * 1000,
            reserved_at_ms=request.reserved_at_ms,
            plan=plan,
            model=usage.model if usage else "",
        )


def amount_text(request: Request) -> str:
    """Return the amount or usage as sent: what two requests with one id must share."""
    return str(request.amount_nanos) if request.usage is None else request.usage.canonical


def _apply_unpriced(admission: Admission) -> None:
    """Let the strictest `on_unpriced` of the user's rules decide about a usage whose model has no price."""
    policy = admission.plan.on_unpriced
    if policy.kind is not PolicyKind.DENY:
        admission.unpriced = True
        admission.amount_nanos = policy.amount_nanos
        return
    actions = [budget.terms.action for budget in admission.plan.budgets]
    admission.refusal = Reason.UNPRICED
    admission.refusal_budget = actions.index(Action.BLOCK) if Action.BLOCK in actions else None
