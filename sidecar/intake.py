"""Makes operations of the ledger from what callers ask: here rules and prices meet a request."""

import secrets
from itertools import count
from typing import Final

from ledger.decisions import RETENTION_MS, Operation, Reason
from ledger.errors import InvalidInput
from ledger.operations import Admission, Resolution, sent_text
from ledger.plans import Plan
from ledger.rules import Action, PolicyKind
from ledger.usage import Usage
from sidecar.plan_cache import PlanCache
from sidecar.pricing import Pricing
from sidecar.requests import AdmitRequest, Request, ResolveRequest
from sidecar.rule_cache import RuleCache
from sidecar.store_clock import StoreClock

CLOCK_SLACK_MS: Final = 3_600_000
"""How wrong this sidecar's idea of the store's time may be before a plan is refused that the store would want."""


class Intake:
    """See the module. Every operation names its attempt, by a number that this process uses once."""

    def __init__(self, rules: RuleCache, clock: StoreClock, pricing: Pricing) -> None:
        self._rules = rules
        self._plans = PlanCache()
        rules.on_change(self._plans.forget)
        self._clock = clock
        self._pricing = pricing
        self._attempts = count(secrets.randbits(32))

    def plan(self, user_id: str, tier: str | None, at_ms: int) -> Plan:
        """Return the plan of a user by the rules in force, at a moment of the store's clock."""
        return self._plans.get(self._rules.current, user_id, tier, at_ms)

    def admission(self, request: AdmitRequest, now_ms: int, left_s: float) -> Admission:
        """Make the operation of a check or a reserve that has `left_s` seconds, at a moment of the store's clock.

        A check without a request id gets one. Raises `InvalidInput` for a usage that costs too much.
        """
        request_id = request.request_id
        if request_id is None:
            request_id = request.request_id = secrets.token_hex(16)
        ttl_ms = request.ttl_s * 1000 if request.operation is Operation.RESERVE else 0
        admission = Admission(
            operation=request.operation,
            plan=self._plans.get(self._rules.current, request.user_id, request.tier, now_ms),
            request_id=request_id,
            user_id=request.user_id,
            amount_nanos=request.amount_nanos or 0,
            sent=sent_text(request.operation, request.tier, amount_text(request), ttl_ms),
            not_after_ms=now_ms + int(left_s * 1000) if left_s > 0 else now_ms,
            ttl_ms=ttl_ms,
            group=request.group or "",
            meta=request.meta,
            attempt=f"{next(self._attempts):x}",
        )
        if request.usage is not None:
            self._price(admission, request.usage, request.tier, now_ms)
        return admission

    def resolution(self, request: ResolveRequest) -> Resolution:
        """Make the operation of a settle, release or extend; raises `InvalidInput`."""
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

    def _price(self, admission: Admission, usage: Usage, tier: str | None, now_ms: int) -> None:
        admission.model = usage.model
        admission.input_tokens, admission.output_tokens = usage.all_input_tokens, usage.output_tokens
        priced = self._pricing.price(usage, tier, now_ms)
        if priced is None:
            _apply_unpriced(admission)
        else:
            admission.amount_nanos, admission.price_version = priced

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
        return self.plan(request.user_id, request.tier, request.reserved_at_ms)


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
