"""Plans of the rule set in force, compiled once and kept until a window ends, a rule expires or the rules change."""

from collections.abc import Callable
from typing import Final

from ledger.plans import Plan, compile_plan
from ledger.rules import EMPTY_RULE_SET, RuleSet

MAX_PLANS: Final = 4096


class PlanCache:
    """Bounded; emptied when full. All users of a tier without an override share one plan, which `make` makes."""

    def __init__(self, make: Callable[[RuleSet, str, str | None, int], Plan] = compile_plan) -> None:
        self._make = make
        self._rule_set = EMPTY_RULE_SET
        self._plans: dict[tuple[str | None, str | None], Plan] = {}

    def forget(self, rule_set: RuleSet) -> None:
        """Drop what belongs to other rules than these: who frees those has the last reference then."""
        self._rule_set = rule_set
        self._plans.clear()

    def get(self, rule_set: RuleSet, user_id: str, tier: str | None, at_ms: int) -> Plan:
        """Return the plan of a user at a moment of the store's clock, Unix milliseconds."""
        if rule_set is not self._rule_set:
            self.forget(rule_set)
        key = (user_id if user_id in rule_set.overrides else None, tier)
        plan = self._plans.get(key)
        if plan is not None and plan.valid_from_ms <= at_ms < plan.valid_until_ms:
            return plan
        fresh = self._make(rule_set, user_id, tier, at_ms)
        if plan is None or fresh.valid_from_ms >= plan.valid_from_ms:
            self._keep(key, fresh)
        return fresh

    def _keep(self, key: tuple[str | None, str | None], plan: Plan) -> None:
        if len(self._plans) >= MAX_PLANS:
            self._plans.clear()
        self._plans[key] = plan
