"""Budgets under judgement in `ledger.memory_ledger`: over the limit or not, thresholds, which rule decides."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ledger.decisions import (
    Budget,
    BudgetTerms,
    Outcome,
    Warning,  # noqa: A004 - the contract's word
    WarningKind,
)
from ledger.memory_counters import Counter, Mark
from ledger.plans import FIELD, Plan
from ledger.rules import Action

STRENGTH = {outcome: strength for strength, outcome in enumerate(Outcome)}
OUTCOME_OVER_LIMIT = {Action.BLOCK: Outcome.BLOCK, Action.DRY_RUN: Outcome.DRY_RUN, Action.WARN: Outcome.WARN}


@dataclass(frozen=True, slots=True)
class Threshold:
    """An alert threshold: percent of the limit, and the spend in nano-USD that reaches it."""

    pct: int
    nanos: int


@dataclass(slots=True, kw_only=True)
class JudgedBudget:
    """One budget of a call, and what comes of it. `fullness` is its share of the limit when it was looked at."""

    terms: BudgetTerms
    action: Action
    limit_text: str
    thresholds: tuple[Threshold, ...]
    mark_name: str
    counter: Counter
    fullness: float
    outcome: Outcome = Outcome.ALLOW
    warning: Warning | None = None
    over: bool = False
    held_only: bool = False

    def judge(self, amount_nanos: int) -> None:
        """Decide whether an amount would pass the limit, and whether only holds are in the way."""
        limit, spend, held = self.terms.limit_nanos, self.counter.spend_nanos, self.counter.held_nanos
        if limit is None:
            return
        self.over = spend + held >= limit or amount_nanos > limit - spend - held
        self.held_only = self.over and not (spend >= limit or amount_nanos > limit - spend)
        self.outcome = OUTCOME_OVER_LIMIT[self.action] if self.over else Outcome.ALLOW

    def refill(self) -> None:
        """Take the fullness anew, after a charge."""
        self.fullness = _fullness(self.terms.limit_nanos, self.counter)

    def see_limit(self) -> bool:
        """Mark the limit as passed in this window; say whether this is the first time."""
        mark = self._mark()
        first = not mark.limit_seen
        mark.limit_seen = True
        return first

    def cross_thresholds(self) -> bool:
        """Fire the thresholds that the spend has reached; say whether any fired. A warning of the limit stays.

        The first charge that reaches a threshold warns; later ones only tell of it.
        """
        reached = max((entry.pct for entry in self.thresholds if self.counter.spend_nanos >= entry.nanos), default=None)
        if reached is None:
            return False
        mark = self._mark()
        is_first = reached > mark.fired_pct
        mark.fired_pct = max(mark.fired_pct, reached)
        if self.warning is None:
            self.warning = Warning(WarningKind.THRESHOLD, reached, is_first)
            self.outcome = Outcome.WARN if is_first and self.outcome is Outcome.ALLOW else self.outcome
        return is_first

    def _mark(self) -> Mark:
        return self.counter.marks.setdefault(self.mark_name, Mark())

    def answer(self) -> Budget:
        """Return the budget as the caller sees it, with the counter's numbers of this moment."""
        counter = self.counter
        return Budget(self.terms, self.outcome, counter.spend_nanos, counter.held_nanos, self.warning, counter.seeded)


def budgets_of(plan: Plan, counters: Sequence[Counter]) -> list[JudgedBudget]:
    """Return the plan's budgets over these counters (one for each of `plan.counters`), nothing judged yet."""
    return [_budget(planned.terms, planned.spec, counters[planned.counter]) for planned in plan.budgets]


def _budget(terms: BudgetTerms, spec: str, counter: Counter) -> JudgedBudget:
    """Read a rule's spec. Its action is the effective one and no part of the mark: a new action re-arms nothing."""
    rule_id, action, limit_text, thresholds_text = spec.split(FIELD)
    pairs = [pair.split(":") for pair in thresholds_text.split(",") if pair]
    return JudgedBudget(
        terms=terms,
        action=Action(action),
        limit_text=limit_text,
        thresholds=tuple(Threshold(int(pct), int(nanos)) for pct, nanos in pairs),
        mark_name=FIELD.join([rule_id, limit_text, thresholds_text]),
        counter=counter,
        fullness=_fullness(terms.limit_nanos, counter),
    )


def _fullness(limit_nanos: int | None, counter: Counter) -> float:
    """Return the share of the limit in use: a float that only orders budgets. Unlimited sorts last, zero first."""
    if limit_nanos is None:
        return -1.0
    if limit_nanos == 0:
        return math.inf
    return (counter.spend_nanos + counter.held_nanos) / limit_nanos


def fullest(budgets: Sequence[JudgedBudget]) -> int | None:
    """Return the index of the fullest budget, the first of equals; None without budgets."""
    return max(range(len(budgets)), key=lambda index: budgets[index].fullness, default=None)


def strongest(budgets: Sequence[JudgedBudget]) -> tuple[Outcome, int | None]:
    """Return the strongest outcome and the index of the fullest budget that has it; allow and None without budgets."""
    if not budgets:
        return Outcome.ALLOW, None
    outcome = max((budget.outcome for budget in budgets), key=lambda outcome: STRENGTH[outcome])
    candidates = [index for index, budget in enumerate(budgets) if budget.outcome is outcome]
    return outcome, max(candidates, key=lambda index: budgets[index].fullness)
