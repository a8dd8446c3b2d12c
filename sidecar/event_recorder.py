"""Charges usage events: calls that were made without asking. They are never refused, whatever the limits say."""

import secrets
from typing import Final

from ledger.decisions import Settlement, StalePlan
from ledger.errors import LedgerError, StoreError, StoreUnavailable
from ledger.operations import Resolution
from ledger.plans import Plan, plan_without_user
from ledger.prices import Priced
from ledger.rules import RuleSet
from ledger.usage_events import UsageEvent, direct_charge
from sidecar.enforcer import Lanes
from sidecar.journal import Journal
from sidecar.metrics import Metrics
from sidecar.plan_cache import PlanCache
from sidecar.pricing import Pricing
from sidecar.rule_cache import RuleCache
from sidecar.store_clock import StoreClock

ATTEMPTS: Final = 2
"""A plan that the store finds stale is made anew by the store's time, once."""


class EventRecorder:
    """Prices events and charges them through the lanes of settles; without the store the journal keeps them.

    Raises `StoreError` if it cannot.
    """

    def __init__(
        self,
        *,
        lanes: Lanes,
        rules: RuleCache,
        clock: StoreClock,
        pricing: Pricing,
        journal: Journal,
        metrics: Metrics,
    ) -> None:
        self._lanes = lanes
        self._rules = rules
        self._plans = PlanCache()
        self._nobodys = PlanCache(compile_nobodys)
        rules.on_change(self._plans.forget)
        rules.on_change(self._nobodys.forget)
        self._clock = clock
        self._pricing = pricing
        self._journal = journal
        self._metrics = metrics

    async def record(self, event: UsageEvent) -> Settlement:
        """Charge an event under its own id, or under one that is made here; raises `LedgerError`."""
        request_id = event.request_id or secrets.token_hex(16)
        try:
            settlement = await self._charge(event, request_id)
        except LedgerError as error:
            self._metrics.record_usage_event(error.code)
            raise
        self._metrics.record_usage_event(_result(settlement))
        if event.usage is not None and not settlement.replayed:
            self._pricing.learn(event.usage, event.tier)
        return settlement

    async def _charge(self, event: UsageEvent, request_id: str) -> Settlement:
        now_ms = self._clock.now_ms()
        lane = self._lanes.resolve[self._lanes.partition_of(event.user_id or "")]
        for _ in range(ATTEMPTS):
            operation = self._operation(event, request_id, now_ms)
            try:
                answer = await lane.submit(operation)
            except StoreError as error:
                self._metrics.record_store_error(error.code)
                return await self._journal.accept(operation, error, tier=event.tier)
            if isinstance(answer, Settlement):
                return answer
            if isinstance(answer, LedgerError):
                raise answer
            if isinstance(answer, StalePlan):
                self._clock.observe(answer.store_ms)
                now_ms = answer.store_ms
        raise StoreUnavailable("the store's clock and this sidecar's do not come together")

    def _operation(self, event: UsageEvent, request_id: str, now_ms: int) -> Resolution:
        rules, user_id = self._rules.current, event.user_id
        plans = self._nobodys if user_id is None else self._plans
        plan = plans.get(rules, user_id or "", event.tier, now_ms)
        return direct_charge(event, plan=plan, request_id=request_id, priced=self._price(event, now_ms))

    def _price(self, event: UsageEvent, now_ms: int) -> Priced | None:
        usage = event.usage
        return None if usage is None else self._pricing.price(usage, event.tier, now_ms)


def compile_nobodys(rules: RuleSet, _user_id: str, tier: str | None, at_ms: int) -> Plan:
    """Return the plan of calls that are nobody's, as `PlanCache` asks for it."""
    return plan_without_user(rules, tier, at_ms)


def _result(settlement: Settlement) -> str:
    """Return what became of an event, for the metric."""
    if settlement.degraded:
        return "journaled"
    if settlement.replayed:
        return "replayed"
    return "unpriced" if settlement.unpriced else "charged"
