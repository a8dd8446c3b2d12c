"""The use cases of the data plane: admit, resolve, batch, usage, explain. Rules, prices and policies meet here."""

import asyncio
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count, groupby
from typing import Final, TypeVar

from ledger.decisions import RETENTION_MS, Decision, Operation, Reason, Settlement, StalePlan, TooLate
from ledger.errors import InvalidInput, LedgerError, StoreError, StoreNotAsked, StoreUnavailable
from ledger.operations import Admission, Admitted, Ledger, Resolution, Resolved, sent_text
from ledger.plans import Plan
from ledger.rules import Action, PolicyKind
from ledger.usage import Usage
from sidecar.breaker import Breaker
from sidecar.coalescer import Lane
from sidecar.failure_policy import FailurePolicy
from sidecar.journal import Journal
from sidecar.metrics import Metrics
from sidecar.plan_cache import PlanCache
from sidecar.pricing import Pricing
from sidecar.requests import AdmitRequest, Request, ResolveRequest
from sidecar.rule_cache import RuleCache
from sidecar.store_clock import StoreClock
from sidecar.views import Explanation, UsageView, explanation, usage_view

TURN_S: Final = 0.005
"""A fresh request has its whole deadline, but for what its turn of the loop took."""
CLOCK_SLACK_MS: Final = 3_600_000
"""How wrong this sidecar's idea of the store's time may be before a plan is refused that the store would want."""

ACCEPTED: Final = frozenset({Operation.SETTLE, Operation.RELEASE, Operation.RECORD})
"""What is accepted without the store: the journal brings it there."""

Answered = Decision | Settlement | LedgerError
Operations = TypeVar("Operations")
Answer = TypeVar("Answer")


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
        self._plans = PlanCache()
        rules.on_change(self._plans.forget)
        self._clock = clock
        self._policy = policy
        self._pricing = pricing
        self._journal = journal
        self._attempts = count(secrets.randbits(32))
        self._metrics = metrics
        self._deadline_s = deadline_s
        self._loop = asyncio.get_running_loop()

    async def admit(self, request: AdmitRequest) -> Decision:
        """Answer a check or a reserve; without the store the rules' failure policy answers.

        Raises `LedgerError` for what is no decision: another body under a known request id, an overflow.
        """
        return await self._admit(request, self._loop.time() + self._deadline_s)

    async def _admit(self, request: AdmitRequest, deadline_s: float) -> Decision:
        started = time.perf_counter()  # The loop's own clock ticks in whole milliseconds.
        if request.request_id is None:
            request.request_id = secrets.token_hex(16)
        admission = self._admission(request, self._clock.now_ms(), deadline_s)
        try:
            decision = await self._decide(request, admission, deadline_s)
        except StoreError as error:
            self._metrics.record_store_error(error.code)
            decision = await self._policy.decide(admission, error)
            decision = await self._journal.degraded(admission, decision, error)
        self._metrics.record_decision(decision, time.perf_counter() - started)
        if request.usage is not None and decision.allowed and not decision.replayed:
            self._pricing.learn(request.usage, request.tier)
        return decision

    async def resolve(self, request: ResolveRequest) -> Settlement:
        """Answer a settle, release or extend; raises `LedgerError`, `StoreError` if the store gave no answer."""
        return await self._resolve(request, self._loop.time() + self._deadline_s)

    async def _resolve(self, request: ResolveRequest, deadline_s: float) -> Settlement:
        resolution = self._resolution(request)
        lane = self._lanes.resolve[self._lanes.partition_of(request.user_id)]
        answer: Resolved
        try:
            if self._journal.has_open(request.user_id, request.request_id):
                raise StoreNotAsked("the journal has something about this call that the store must hear of first")
            answer = await self._ask(lane, resolution, deadline_s)
        except StoreError as error:
            self._metrics.record_store_error(error.code)
            if resolution.operation not in ACCEPTED:
                raise
            answer = await self._journal.accept(resolution, error, tier=request.tier)
        if isinstance(answer, LedgerError):
            raise answer
        if not isinstance(answer, Settlement):
            raise StoreUnavailable("the store gave no answer")
        self._policy.settled(resolution)
        self._metrics.record_settlement(answer)
        if request.usage is not None and not answer.replayed:
            self._pricing.learn(request.usage, answer.tier)
        return answer

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

    async def usage(self, user_id: str, tier: str | None) -> UsageView:
        """Read what a user has spent and holds; raises `StoreError`."""
        self._lanes.breakers[self._lanes.partition_of(user_id)].check()
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

    async def _answer(self, request: Request, deadline_s: float) -> Answered:
        try:
            if isinstance(request, AdmitRequest):
                return await self._admit(request, deadline_s)
            return await self._resolve(request, deadline_s)
        except LedgerError as error:
            return error

    async def _decide(self, request: AdmitRequest, admission: Admission, deadline_s: float) -> Decision:
        """Decide; once more with a new plan if the store found this one stale, or its own time past `not_after`."""
        partition = self._lanes.partition_of(admission.user_id)
        if partition in self._journal.recovering and admission.plan.has_blocks:
            raise StoreNotAsked("the store has lost data, which is being made good; its counters are too low")
        lane = self._lanes.admit[partition]
        answer = await self._ask(lane, admission, deadline_s)
        if isinstance(answer, StalePlan | TooLate):
            self._clock.observe(answer.store_ms)
            again = self._admission(request, answer.store_ms, deadline_s)
            again.attempt = admission.attempt
            answer = await self._ask(lane, again, deadline_s)
            admission = again
        if isinstance(answer, StalePlan | TooLate):
            raise StoreUnavailable("the store's clock and this sidecar's do not come together")
        if isinstance(answer, LedgerError):
            raise answer
        answer.on_store_failure = admission.plan.on_store_failure
        return answer

    async def _ask(self, lane: Lane[Operations, Answer], operation: Operations, deadline_s: float) -> Answer:
        """Put an operation to the store. A lane gives it a whole deadline; one that has less left is bounded here."""
        left_s = deadline_s - self._loop.time()
        if left_s <= 0:
            raise StoreNotAsked("the deadline has passed; nothing was sent")
        if left_s > self._deadline_s - TURN_S:
            return await lane.submit(operation)
        try:
            async with asyncio.timeout(left_s):
                return await lane.submit(operation)
        except TimeoutError:
            raise StoreUnavailable("the store did not answer within the deadline") from None

    def _plan(self, user_id: str, tier: str | None, at_ms: int) -> Plan:
        return self._plans.get(self._rules.current, user_id, tier, at_ms)

    def _admission(self, request: AdmitRequest, now_ms: int, deadline_s: float) -> Admission:
        """Make the operation of a request at a moment of the store's clock: rules, price, refusal."""
        plan = self._plan(request.user_id, request.tier, now_ms)
        ttl_ms = request.ttl_s * 1000 if request.operation is Operation.RESERVE else 0
        usage = request.usage
        admission = Admission(
            operation=request.operation,
            plan=plan,
            request_id=request.request_id or "",
            user_id=request.user_id,
            amount_nanos=request.amount_nanos or 0,
            sent=sent_text(request.operation, request.tier, amount_text(request), ttl_ms),
            not_after_ms=now_ms + int(max(0.0, deadline_s - self._loop.time()) * 1000),
            ttl_ms=ttl_ms,
            group=request.group or "",
            meta=request.meta,
            attempt=f"{next(self._attempts):x}",
        )
        if usage is not None:
            admission.model = usage.model
            admission.input_tokens, admission.output_tokens = usage.all_input_tokens, usage.output_tokens
            priced = self._pricing.price(usage, request.tier, now_ms)
            if priced is None:
                _apply_unpriced(admission)
            else:
                admission.amount_nanos, admission.price_version = priced
        return admission

    def _resolution(self, request: ResolveRequest) -> Resolution:
        resolution = Resolution(
            operation=request.operation,
            user_id=request.user_id,
            request_id=request.request_id,
            amount_nanos=request.amount_nanos,
            sent=amount_text(request),
            ttl_ms=request.ttl_s * 1000,
            reserved_at_ms=request.reserved_at_ms,
            plan=self._plan_of_reserve(request),
            group=request.group or "",
        )
        if request.usage is not None:
            self._price_settle(request, request.usage, resolution)
        return resolution

    def _price_settle(self, request: ResolveRequest, usage: Usage, resolution: Resolution) -> None:
        """Price what was used, by the prices of the call's time where that is known."""
        resolution.model = usage.model
        resolution.input_tokens, resolution.output_tokens = usage.all_input_tokens, usage.output_tokens
        called_ms = self._clock.now_ms() if request.reserved_at_ms is None else request.reserved_at_ms
        priced = self._pricing.price(usage, request.tier, called_ms)
        if priced is not None:
            resolution.amount_nanos, resolution.price_version = priced

    def _plan_of_reserve(self, request: ResolveRequest) -> Plan | None:
        """Return the plan at `reserved_at`, if the store could charge by it at all; the store's clock has the word."""
        if request.reserved_at_ms is None:
            return None
        age_ms = self._clock.now_ms() - request.reserved_at_ms
        if age_ms < -CLOCK_SLACK_MS:
            raise InvalidInput("reserved_at lies in the future of the store's clock", field="reserved_at")
        if age_ms > RETENTION_MS + CLOCK_SLACK_MS:
            return None
        return self._plan(request.user_id, request.tier, request.reserved_at_ms)


def amount_text(request: Request) -> str:
    """Return the amount or usage as sent: what two requests with one id must share."""
    if request.usage is not None:
        return request.usage.canonical
    return "" if request.amount_nanos is None else str(request.amount_nanos)


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
