"""The test's own account of what a ledger must do: entries by request id, from which all numbers are recomputed.

It shares no code with any ledger. Where a ledger moves counters, this sums entries anew each time.
"""

from collections import Counter
from dataclasses import dataclass, field

from ledger.decisions import HoldState, Operation
from ledger.plans import Plan, TierWindow
from ledger.rules import OnExpiry, PolicyKind
from ledger.windows import Window

Numbers = tuple[int, int, int]
"""Spend and held in nano-USD, and calls."""

ExpectedEvent = tuple[str, str, str]
"""Type, user, request id."""


@dataclass(slots=True)
class Entry:
    """One request id. `state` is None for a check; `charged_nanos` is what it has cost up to now."""

    user_id: str
    request_id: str
    plan: Plan
    sent: str
    state: HoldState | None
    estimate_nanos: int
    charged_nanos: int
    reserved_ms: int
    deadline_ms: int = 0
    settled_as: str = ""
    provisional: bool = False
    reconstructed: bool = False
    is_call: bool = True

    @property
    def windows(self) -> set[Window]:
        """The windows that own this entry, fixed at its admission."""
        return {entry.window for entry in self.plan.counters}

    @property
    def held_nanos(self) -> int:
        """What it holds now."""
        return self.estimate_nanos if self.state is HoldState.OPEN else 0

    @property
    def calls(self) -> int:
        """One call, none once it is released; an adjustment is none."""
        return 1 if self.is_call and self.state is not HoldState.RELEASED else 0

    def is_due(self, now_ms: int) -> bool:
        """Say whether its deadline ended it, resolved or not."""
        return self.state is HoldState.OPEN and self.deadline_ms <= now_ms


@dataclass(slots=True)
class Bookkeeping:
    """All entries, what new zones started from, and the events and tallies that are due."""

    entries: dict[tuple[str, str], Entry] = field(default_factory=dict)
    starts: dict[tuple[Window, str], Numbers] = field(default_factory=dict)
    totals: set[TierWindow] = field(default_factory=set)
    fired: dict[tuple[Window, str, str], int] = field(default_factory=dict)
    events: list[ExpectedEvent] = field(default_factory=list)
    tallies: Counter[tuple[Window, str, str]] = field(default_factory=Counter)

    def numbers(self, window: Window, user_id: str) -> Numbers:
        """Return what a user's counter must show."""
        own = [entry for entry in self.entries.values() if entry.user_id == user_id and window in entry.windows]
        spend, held, calls = self.starts.get((window, user_id), (0, 0, 0))
        return (
            spend + sum(entry.charged_nanos for entry in own),
            held + sum(entry.held_nanos for entry in own),
            calls + sum(entry.calls for entry in own),
        )

    def total(self, row: TierWindow) -> Numbers:
        """Return what a tier's total must show."""
        own = [entry for entry in self.entries.values() if row in entry.plan.tier_windows]
        return sum(entry.charged_nanos for entry in own), 0, sum(entry.calls for entry in own)

    def used(self, day: Window) -> tuple[int, int]:
        """Return what all requests of a day of the workspace have charged, and how many calls they are."""
        own = [entry for entry in self.entries.values() if entry.plan.counters[0].window == day]
        return sum(entry.charged_nanos for entry in own), sum(entry.calls for entry in own)

    def planned(self, plan: Plan, user_id: str) -> list[Numbers]:
        """Return the plan's counters as a decision must see them: a new zone starts from the workspace's."""
        shown: list[Numbers] = []
        for entry in plan.counters:
            numbers = self.numbers(entry.window, user_id)
            is_new = entry.seed is not None and (entry.window, user_id) not in self.starts
            if is_new and (entry.previous, user_id) not in self.starts and entry.seed is not None:
                spend, held, calls = shown[entry.seed]
                numbers = (spend + held, 0, calls)
            shown.append(numbers)
        return shown

    def add(self, entry: Entry) -> None:
        """Enter a request; counters that it is the first to touch start here."""
        starts = self.planned(entry.plan, entry.user_id)
        for counted, numbers in zip(entry.plan.counters, starts, strict=True):
            self.starts.setdefault((counted.window, entry.user_id), numbers if counted.seed is not None else (0, 0, 0))
        self.totals |= set(entry.plan.tier_windows)
        self.entries[entry.user_id, entry.request_id] = entry

    def due(self, user_id: str, now_ms: int) -> list[Entry]:
        """Return the user's due holds, the earliest first."""
        due = [entry for entry in self.entries.values() if entry.user_id == user_id and entry.is_due(now_ms)]
        return sorted(due, key=lambda entry: (entry.deadline_ms, entry.request_id))

    def expire(self, entry: Entry) -> None:
        """End one hold at its deadline: an event, a tally for its fullest rule, and an alert if it was charged."""
        is_charged = entry.plan.on_expiry is OnExpiry.CHARGE
        entry.state, entry.charged_nanos = HoldState.EXPIRED, entry.estimate_nanos if is_charged else 0
        self.expect("expired", entry.user_id, entry.request_id)
        self.tally_fullest(entry, "expired", entry.estimate_nanos)
        if is_charged:
            self.alert(entry, entry.estimate_nanos)

    def alert(self, entry: Entry, amount_nanos: int) -> bool:
        """Fire the thresholds of an ended hold: one event for all, a tally for each rule. Says whether any fired."""
        crossed = self.cross(entry)
        if crossed:
            self.expect("warned", entry.user_id, entry.request_id)
        for window, rule_id in crossed:
            self.tally(window, rule_id, "warned", amount_nanos)
        return bool(crossed)

    def cross(self, entry: Entry) -> list[tuple[Window, str]]:
        """Fire every threshold that the spend has reached and return the rules to which that is new."""
        crossed: list[tuple[Window, str]] = []
        for budget in entry.plan.budgets:
            terms = budget.terms
            thresholds = [int(pair.split(":")[0]) for pair in budget.spec.split("\x1f")[3].split(",") if pair]
            spend = self.numbers(terms.window, entry.user_id)[0]
            reached = [pct for pct in thresholds if spend * 100 >= pct * (terms.limit_nanos or 0)]
            mark = (terms.window, entry.user_id, f"{terms.rule_id} {terms.limit_nanos} {thresholds}")
            if max(reached, default=0) > self.fired.get(mark, 0):
                self.fired[mark] = max(reached)
                crossed.append((terms.window, terms.rule_id))
        return crossed

    def expect(self, kind: str, user_id: str, request_id: str) -> None:
        """Note an event that the ledger must have written."""
        self.events.append((kind, user_id, request_id))

    def tally(self, window: Window, rule_id: str, name: str, amount_nanos: int) -> None:
        """Note an outcome that the ledger must have counted."""
        self.tallies[window, rule_id, name] += 1
        self.tallies[window, rule_id, f"{name}_nanos"] += amount_nanos

    def tally_fullest(self, entry: Entry, name: str, amount_nanos: int, planned: list[Numbers] | None = None) -> None:
        """Note an outcome of the entry's fullest rule, by its counters or by those that were planned."""
        shares = [
            _share(
                budget.terms.limit_nanos,
                planned[budget.counter] if planned else self.numbers(budget.terms.window, entry.user_id),
            )
            for budget in entry.plan.budgets
        ]
        if shares:
            terms = entry.plan.budgets[shares.index(max(shares))].terms
            self.tally(terms.window, terms.rule_id, name, amount_nanos)

    def charge_without_price(self, plan: Plan, otherwise_nanos: int) -> int:
        """Return what a settle without a price must cost."""
        return plan.on_unpriced.amount_nanos if plan.on_unpriced.kind is PolicyKind.AMOUNT else otherwise_nanos

    def open_entry(self, operation: Operation, entry: Entry) -> None:
        """Enter an admitted check or reserve: a check is charged at once, a reserve held."""
        is_check = operation is Operation.CHECK
        entry.state = None if is_check else HoldState.OPEN
        entry.charged_nanos = entry.estimate_nanos if is_check else 0
        self.add(entry)


def _share(limit_nanos: int | None, numbers: Numbers) -> float:
    """Return the share of a limit in use; unlimited is the emptiest, a limit of zero the fullest."""
    if limit_nanos is None:
        return -1.0
    return (numbers[0] + numbers[1]) / limit_nanos if limit_nanos else float("inf")
