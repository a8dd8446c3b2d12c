"""The counters of `ledger.memory_ledger`: what each user spent and holds in each window, and the totals of tiers."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ledger.decisions import CounterState
from ledger.plans import CountedWindow, Plan, TierWindow
from ledger.windows import Window


@dataclass(slots=True)
class Mark:
    """What a rule has already warned of in a window: the highest threshold in percent, and its limit."""

    fired_pct: int = 0
    limit_seen: bool = False


@dataclass(slots=True)
class Counter:
    """One user in one window, or one tier in one window (which has no holds). Amounts are nano-USD."""

    spend_nanos: int = 0
    held_nanos: int = 0
    calls: int = 0
    seeded: bool = False
    marks: dict[str, Mark] = field(default_factory=dict)
    adjusted_nanos: int = 0

    def add(self, *, spend_nanos: int = 0, held_nanos: int = 0, calls: int = 0) -> None:
        """Change the numbers; none goes below zero, which only lost data could cause, but for spend that was credited.

        A hold that was charged, credited and then settled for less leaves a credit that is the user's.
        """
        self.spend_nanos = max(self.spend_nanos + spend_nanos, min(0, self.spend_nanos, self.adjusted_nanos))
        self.held_nanos = max(0, self.held_nanos + held_nanos)
        self.calls = max(0, self.calls + calls)

    def correct(self, *, spend_nanos: int) -> None:
        """Change the spend in an operator's name."""
        self.adjusted_nanos += spend_nanos
        self.add(spend_nanos=spend_nanos)

    def state(self) -> CounterState:
        """Return the numbers as they are now."""
        return CounterState(self.spend_nanos, self.held_nanos, self.calls, self.seeded)


class Counters:
    """All counters, by (window, user) and by (tier, window)."""

    def __init__(self) -> None:
        self._of_users: dict[tuple[Window, str], Counter] = {}
        self._of_tiers: dict[TierWindow, Counter] = {}

    def of_user(self, window: Window, user_id: str) -> Counter:
        """Return a user's counter; one that was never written to is zero."""
        return self._of_users.get((window, user_id)) or Counter()

    def of_tier(self, window: Window, tier: str) -> Counter:
        """Return a tier's totals; those that were never written to are zero."""
        return self._of_tiers.get(TierWindow(tier, window)) or Counter()

    def planned(self, plan: Plan, user_id: str) -> list[Counter]:
        """Return the plan's counters as they would start if a call were counted now. Stores nothing."""
        counters: list[Counter] = []
        for entry in plan.counters:
            stored = self._of_users.get((entry.window, user_id))
            counters.append(stored or self._started(entry, user_id, counters))
        return counters

    def _started(self, entry: CountedWindow, user_id: str, counters: list[Counter]) -> Counter:
        """Return a new counter: zero, or a copy of the workspace's where this zone was never counted for the user."""
        if entry.seed is None or entry.previous is None or (entry.previous, user_id) in self._of_users:
            return Counter()
        source = counters[entry.seed]
        if source.spend_nanos == 0 and source.calls == 0:
            return Counter()
        return Counter(spend_nanos=source.spend_nanos + source.held_nanos, calls=source.calls, seeded=True)

    def count_call(
        self, plan: Plan, user_id: str, counters: Sequence[Counter] | None, *, spend_nanos: int = 0, held_nanos: int = 0
    ) -> None:
        """Count one more call with its charge or hold on the `planned` counters and the plan's tier totals.

        `counters` is None for a call that is nobody's.
        """
        for entry, counter in zip(plan.counters, counters, strict=True) if counters is not None else ():
            self._of_users[entry.window, user_id] = counter
            counter.add(spend_nanos=spend_nanos, held_nanos=held_nanos, calls=1)
        for tier_window in plan.tier_windows:
            self._of_tiers.setdefault(tier_window, Counter()).add(spend_nanos=spend_nanos, calls=1)

    def correct(self, plan: Plan, user_id: str, counters: Sequence[Counter], *, spend_nanos: int) -> None:
        """Correct the spend of the `planned` counters, and of the plan's tier totals if it has a tier; no call."""
        for entry, counter in zip(plan.counters, counters, strict=True):
            self._of_users[entry.window, user_id] = counter
            counter.correct(spend_nanos=spend_nanos)
        for tier_window in plan.tier_windows if plan.tier is not None else ():
            self._of_tiers.setdefault(tier_window, Counter()).correct(spend_nanos=spend_nanos)

    def move(self, plan: Plan, user_id: str, *, spend_nanos: int = 0, held_nanos: int = 0, calls: int = 0) -> None:
        """Correct a call that was counted before, in the windows of that plan; negative amounts give back."""
        for entry in plan.counters:
            counter = self._of_users.setdefault((entry.window, user_id), Counter())
            counter.add(spend_nanos=spend_nanos, held_nanos=held_nanos, calls=calls)
        for tier_window in plan.tier_windows:
            self._of_tiers.setdefault(tier_window, Counter()).add(spend_nanos=spend_nanos, calls=calls)
