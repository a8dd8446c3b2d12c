"""The enforcement log of `ledger.memory_ledger`: events, the tallies that match them, and unattributed settles."""

from collections import Counter as Tally
from collections.abc import Sequence
from dataclasses import dataclass

from ledger.decisions import Outcome
from ledger.memory_budgets import JudgedBudget
from ledger.windows import Window

Event = dict[str, str]
"""The fields of one event, all as text, as the stream in Redis has them."""

TALLY_NAMES = {Outcome.BLOCK: "blocked", Outcome.DRY_RUN: "dry_run", Outcome.WARN: "warned"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The call that an event is about."""

    user_id: str
    request_id: str
    tier: str | None = None
    group: str = ""
    model: str = ""
    price_version: str = ""
    meta: str = ""


@dataclass(slots=True)
class Unattributed:
    """Settles that belong to no hold: how many, and their sum in nano-USD."""

    count: int = 0
    nanos: int = 0


class EnforcementLog:
    """Events in their order, and counts by (window, rule)."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.unattributed = Unattributed()
        self._tallies: dict[tuple[Window, str], Tally[str]] = {}

    def trim(self, *, oldest_ms: int) -> None:
        """Drop the events before a moment."""
        self.events = [event for event in self.events if int(event["at"]) >= oldest_ms]

    def add(
        self,
        kind: str,
        subject: Subject,
        *,
        at_ms: int,
        reason: str,
        amount_nanos: int,
        budgets: Sequence[JudgedBudget] = (),
        decider: int | None = None,
    ) -> None:
        """Add an event about `budgets[decider]`, with the numbers that its counter has now."""
        budget = None if decider is None else budgets[decider]
        self.events.append(
            {
                "type": kind,
                "at": str(at_ms),
                "user": subject.user_id,
                "request": subject.request_id,
                "tier": subject.tier or "",
                "rule": budget.terms.rule_id if budget else "",
                "window": budget.terms.window.code if budget else "",
                "reason": str(reason),
                "amount": str(amount_nanos),
                "spend": str(budget.counter.spend_nanos) if budget else "",
                "held": str(budget.counter.held_nanos) if budget else "",
                "limit": budget.limit_text if budget else "",
                "group": subject.group,
                "model": subject.model,
                "price_version": subject.price_version,
                "meta": subject.meta,
                "outcomes": ",".join(_outcome_text(each) for each in budgets if each.outcome is not Outcome.ALLOW),
            }
        )

    def count(self, budget: JudgedBudget, name: str, amount_nanos: int) -> None:
        """Count one outcome of a rule and its amount."""
        tally = self._tally_of(budget)
        tally[name] += 1
        tally[f"{name}_nanos"] += amount_nanos

    def count_outcomes(self, budgets: Sequence[JudgedBudget], amount_nanos: int) -> None:
        """Count every budget that did more than allow."""
        for budget in budgets:
            if budget.outcome is not Outcome.ALLOW:
                self.count(budget, TALLY_NAMES[budget.outcome], amount_nanos)

    def count_dry_run_user(self, budget: JudgedBudget) -> None:
        """Count a user whom a dry run would have blocked for the first time in this window."""
        self._tally_of(budget)["dry_run_users"] += 1

    def tally(self, window: Window, rule_id: str) -> dict[str, int]:
        """Return the counts of a rule in a window: ``blocked`` and ``blocked_nanos`` and so on, without zeros."""
        return {name: number for name, number in self._tallies.get((window, rule_id), Tally()).items() if number}

    def _tally_of(self, budget: JudgedBudget) -> Tally[str]:
        return self._tallies.setdefault((budget.terms.window, budget.terms.rule_id), Tally())


def _outcome_text(budget: JudgedBudget) -> str:
    return f"{budget.terms.rule_id}={budget.outcome}"
