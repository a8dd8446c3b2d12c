"""Warnings for `on_budget_warning`: which ones are due, once a threshold and window."""

import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from spendgate.decisions import Budget, Decision, Settlement, WarningDetail

MAX_REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetWarning:
    """What `on_budget_warning` is called with: the budget that reached a threshold, or passed its limit.

    `kind` is ``threshold`` or ``limit``, `threshold_pct` the threshold in percent (None for ``limit``). The call itself
    goes on: `allowed` is True unless another rule blocks it.
    """

    allowed: bool
    warned: bool
    kind: str
    threshold_pct: int | None
    user_id: str
    tier: str | None
    spend_usd: Decimal
    limit_usd: Decimal | None
    percent: Decimal | None
    window_start: datetime
    resets_at: datetime
    budget: Budget


OnBudgetWarning = Callable[[BudgetWarning], Awaitable[object] | object]


class WarningGate:
    """Decides which warnings of an answer are told. Safe for threads."""

    def __init__(self, *, every_call: bool) -> None:
        self._every_call = every_call
        self._told: OrderedDict[tuple[object, ...], None] = OrderedDict()
        self._lock = threading.Lock()

    def after_fork(self) -> None:
        """Take a lock that no thread of the parent holds."""
        self._lock = threading.Lock()

    def due(self, answer: Decision | Settlement) -> list[BudgetWarning]:
        """Return what is to be told: what the ledger marks as first, or with `every_call` each once a request id."""
        return [
            _warning(answer, budget, budget.warning)
            for budget in answer.budgets
            if budget.warning is not None and self._is_due(answer, budget, budget.warning)
        ]

    def _is_due(self, answer: Decision | Settlement, budget: Budget, detail: WarningDetail) -> bool:
        if not (detail.first or self._every_call):
            return False
        call = answer.request_id if self._every_call else None
        limit, threshold = budget.limit_usd, detail.threshold_pct
        key = (answer.user_id, budget.rule_id, budget.window_start, detail.kind, threshold, limit, call)
        with self._lock:
            if key in self._told:
                return False
            self._told[key] = None
            if len(self._told) > MAX_REMEMBERED:
                self._told.popitem(last=False)
        return True


def _warning(answer: Decision | Settlement, budget: Budget, detail: WarningDetail) -> BudgetWarning:
    return BudgetWarning(
        allowed=answer.decision != "block",
        warned=True,
        kind=detail.kind,
        threshold_pct=detail.threshold_pct,
        user_id=answer.user_id,
        tier=answer.tier,
        spend_usd=budget.spend_usd,
        limit_usd=budget.limit_usd,
        percent=budget.percent,
        window_start=budget.window_start,
        resets_at=budget.resets_at,
        budget=budget,
    )
