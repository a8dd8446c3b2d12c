"""Reads a ledger's results into the bookkeeping, and notes each result that an invariant does not allow."""

from dataclasses import dataclass, field, replace

from ledger.adjustments import Adjusted, Adjustment
from ledger.decisions import (
    EVENT_RETENTION_MS,
    FUTURE_TOLERANCE_MS,
    MAX_HOLD_MS,
    RETENTION_MS,
    Decision,
    HoldState,
    Operation,
    Outcome,
    Settlement,
    StalePlan,
    TooLate,
)
from ledger.errors import HoldConflict, LedgerError, RequestMismatch
from ledger.money import CAP_NANOS
from ledger.operations import Admission, Admitted, Resolution, Resolved
from ledger.plans import FIELD, Plan, PlannedBudget
from ledger.windows import Window
from tests.property.bookkeeping import Bookkeeping, Entry, Numbers

TALLY_NAMES = {"block": "blocked", "dry_run": "dry_run", "warn": "warned"}


@dataclass(frozen=True, slots=True)
class Breach:
    """A result that breaks an invariant."""

    number: int
    message: str


@dataclass(frozen=True, slots=True)
class Judged:
    """The last decision: the plan's counters as they had to be seen and as they were stored, before it."""

    allowed: bool
    planned: list[Numbers]
    stored: list[Numbers]


@dataclass(slots=True)
class Account:
    """The bookkeeping of one ledger, fed with its results. `touched` are the counters a call may have changed."""

    books: Bookkeeping = field(default_factory=Bookkeeping)
    touched: set[tuple[Window, str]] = field(default_factory=set)
    last_judged: Judged | None = None
    _now_ms: int = 0
    _swept: set[str] = field(default_factory=set)
    _unattributed: set[tuple[str, str]] = field(default_factory=set)
    _limits_seen: set[tuple[Window, str, str]] = field(default_factory=set)
    _breaches: list[Breach] = field(default_factory=list)

    def begin_call(self, now_ms: int) -> None:
        """Begin the results of one call of the ledger."""
        self._now_ms = now_ms
        self._swept.clear()
        self.touched.clear()
        self.last_judged = None

    def take_breaches(self) -> list[Breach]:
        """Return what was noted since the last time."""
        breaches, self._breaches = self._breaches, []
        return breaches

    def _require(self, number: int, holds: bool, message: str) -> None:
        if not holds:
            self._breaches.append(Breach(number, message))

    def _touch(self, plan: Plan, user_id: str) -> None:
        self.touched |= {(entry.window, user_id) for entry in plan.counters}

    def _sweep(self, user_id: str) -> None:
        if user_id in self._swept:
            return
        self._swept.add(user_id)
        for entry in self.books.due(user_id, self._now_ms):
            self._expire(entry)

    def _expire(self, entry: Entry) -> None:
        self._touch(entry.plan, entry.user_id)
        self.books.expire(entry)

    def admit(self, admission: Admission, result: Admitted) -> None:
        """Enter what a check or a reserve was answered."""
        known = self.books.entries.get((admission.user_id, admission.request_id))
        if known is not None:
            self._repeat(admission, result, known)
        elif not isinstance(result, StalePlan | TooLate):
            assert isinstance(result, Decision), result
            self._require(3, not result.replayed, f"{admission.request_id} was replayed before it was admitted")
            self._sweep(admission.user_id)
            self._decide(admission, result)

    def _repeat(self, admission: Admission, result: Admitted, known: Entry) -> None:
        """Invariant 3: a known id is a replay, or a mismatch if something else was sent."""
        if admission.sent != known.sent:
            self._require(3, isinstance(result, RequestMismatch), f"{admission.request_id} was used for two bodies")
            return
        is_replay = isinstance(result, Decision) and result.replayed
        self._require(3, is_replay, f"{admission.request_id} was decided twice")
        if isinstance(result, Decision) and admission.operation is Operation.RESERVE:
            state = HoldState.EXPIRED if known.is_due(self._now_ms) else known.state
            self._require(3, result.hold_state is state, f"{admission.request_id} is {state}")

    def _decide(self, admission: Admission, decision: Decision) -> None:
        plan, user_id, amount = admission.plan, admission.user_id, admission.amount_nanos
        planned = self.books.planned(plan, user_id)
        stored = [self.books.numbers(entry.window, user_id) for entry in plan.counters]
        self.last_judged = Judged(decision.allowed, planned, stored)
        entry = Entry(user_id, admission.request_id, plan, admission.sent, None, amount, 0, self._now_ms)
        entry.deadline_ms = self._now_ms + admission.ttl_ms
        if admission.refusal is not None or plan.stopped:
            self._require(1, not decision.allowed, f"{admission.request_id} passed a stop")
            self._refuse_unjudged(admission, entry, planned)
            return
        over = [budget for budget in plan.budgets if _is_over(budget, planned[budget.counter], amount)]
        blocking = [budget for budget in over if _action(budget) == "block"]
        self._require(1, decision.allowed is not bool(blocking), f"{admission.request_id} was {decision.outcome}")
        if decision.allowed:
            self._touch(plan, user_id)
            self.books.open_entry(admission.operation, entry)
            self._warn(admission, decision, entry, over)
        else:
            self._expect("blocked", entry)
            self._tally_over(over, user_id, amount)

    def _refuse_unjudged(self, admission: Admission, entry: Entry, planned: list[Numbers]) -> None:
        self._expect("blocked", entry)
        if admission.refusal_budget is None:
            self.books.tally_fullest(entry, "blocked", entry.estimate_nanos, planned)
        else:
            terms = entry.plan.budgets[admission.refusal_budget].terms
            self.books.tally(terms.window, terms.rule_id, "blocked", entry.estimate_nanos)

    def _warn(self, admission: Admission, decision: Decision, entry: Entry, over: list[PlannedBudget]) -> None:
        """Invariant 7: the outcome is the strongest of the budgets, and each has its one event and tally."""
        is_check = admission.operation is Operation.CHECK
        crossed = set(self.books.cross(entry) if is_check else [])
        for budget in over:
            self._see_limit(budget, entry.user_id)
            crossed.discard((budget.terms.window, budget.terms.rule_id))
        actions = {_action(budget) for budget in over} | ({"warn"} if crossed else set())
        outcome = Outcome.DRY_RUN if "dry_run" in actions else Outcome.WARN if actions else Outcome.ALLOW
        self._require(7, decision.outcome is outcome, f"{entry.request_id} was {decision.outcome}, not {outcome}")
        if outcome is not Outcome.ALLOW:
            self._expect("dry_run" if outcome is Outcome.DRY_RUN else "warned", entry)
        if admission.unpriced:
            self._expect("unpriced", entry)
        self._tally_over(over, entry.user_id, admission.amount_nanos)
        for window, rule_id in crossed:
            self.books.tally(window, rule_id, "warned", admission.amount_nanos)

    def _see_limit(self, budget: PlannedBudget, user_id: str) -> None:
        """Count a user of a dry run once; the mark outlives a changed action."""
        rule_id, action, *rest = budget.spec.split(FIELD)
        mark = (budget.terms.window, user_id, FIELD.join([rule_id, *rest]))
        if mark not in self._limits_seen and action == "dry_run":
            self.books.tallies[budget.terms.window, rule_id, "dry_run_users"] += 1
        self._limits_seen.add(mark)

    def _tally_over(self, over: list[PlannedBudget], user_id: str, amount_nanos: int) -> None:
        for budget in over:
            name = TALLY_NAMES[_action(budget)]
            self.books.tally(budget.terms.window, budget.terms.rule_id, name, amount_nanos)

    def _expect(self, kind: str, entry: Entry) -> None:
        self.books.expect(kind, entry.user_id, entry.request_id)

    def adjust(self, adjustment: Adjustment, result: Adjusted | StalePlan | LedgerError) -> None:
        """Enter what an operator's adjustment was answered."""
        user_id, request_id, amount = adjustment.user_id, adjustment.request_id, adjustment.amount_nanos
        known = self.books.entries.get((user_id, request_id))
        if known is not None:
            is_replay = isinstance(result, Adjusted) and result.replayed
            is_right = is_replay if adjustment.sent == known.sent else isinstance(result, RequestMismatch)
            self._require(3, is_right, f"{request_id} was adjusted twice")
            return
        plan = adjustment.plan if adjustment.plan.tier else replace(adjustment.plan, tier_windows=())
        at_ms = self._now_ms if adjustment.at_ms is None else adjustment.at_ms
        if not plan.valid_from_ms <= at_ms < plan.valid_until_ms or not 0 <= self._now_ms - at_ms <= EVENT_RETENTION_MS:
            self._require(4, not isinstance(result, Adjusted), f"{request_id} was adjusted at another time")
            return
        planned = self.books.planned(plan, user_id)
        spends = [numbers[0] for numbers in [*planned, *(self.books.total(row) for row in plan.tier_windows)]]
        fits = min(spends) + amount >= 0
        fits = fits and all(amount < 0 or spend + held + amount <= CAP_NANOS for spend, held, _ in planned)
        self._require(4, fits is isinstance(result, Adjusted), f"{request_id} was answered {result}")
        if fits:
            entry = Entry(user_id, request_id, plan, adjustment.sent, None, amount, amount, at_ms, is_call=False)
            self._touch(plan, user_id)
            self.books.add(entry)
            self._expect("adjusted", entry)

    def resolve(self, resolution: Resolution, result: Resolved) -> None:
        """Enter what an operation on a hold was answered."""
        if resolution.operation is Operation.EXPIRE:
            self._sweep(resolution.user_id)
            return
        entry = self.books.entries.get((resolution.user_id, resolution.request_id))
        if resolution.operation is Operation.SETTLE:
            self._settle(resolution, result, entry)
        elif resolution.operation is Operation.RECORD:
            self._charge_directly(resolution, result, entry)
        elif entry is None or entry.state is None or entry.reconstructed or entry.state is HoldState.SETTLED:
            self._require(3, not isinstance(result, Settlement), f"{resolution.request_id} had no hold to end")
        elif resolution.operation is Operation.RELEASE:
            self._release(result, entry)
        elif entry.state is HoldState.OPEN and not entry.is_due(self._now_ms):
            entry.deadline_ms = min(self._now_ms + resolution.ttl_ms, entry.reserved_ms + MAX_HOLD_MS)
        else:
            self._require(3, isinstance(result, HoldConflict), f"{resolution.request_id} was extended after its end")

    def _release(self, result: Resolved, entry: Entry) -> None:
        if entry.state is HoldState.RELEASED:
            is_replay = isinstance(result, Settlement) and result.replayed
            self._require(3, is_replay, f"{entry.request_id} was released twice")
            return
        self._touch(entry.plan, entry.user_id)
        if entry.is_due(self._now_ms):
            self._expire(entry)
        entry.state, entry.charged_nanos = HoldState.RELEASED, 0

    def _settle(self, resolution: Resolution, result: Resolved, entry: Entry | None) -> None:
        if entry is None:
            self._settle_unknown(resolution, result)
        elif entry.state is None:
            self._require(3, isinstance(result, HoldConflict), f"the check {entry.request_id} was settled")
        elif entry.state is HoldState.SETTLED and resolution.sent == entry.settled_as:
            is_replay = isinstance(result, Settlement) and result.replayed
            self._require(3, is_replay, f"{entry.request_id} was settled twice")
        elif entry.state is HoldState.SETTLED and not (entry.provisional and resolution.amount_nanos is not None):
            self._require(3, isinstance(result, HoldConflict), f"{entry.request_id} was settled with two amounts")
        else:
            self._replace(resolution, result, entry)

    def _settle_unknown(self, resolution: Resolution, result: Resolved) -> None:
        reserved_ms, plan = resolution.reserved_at_ms, resolution.plan
        if reserved_ms is not None and reserved_ms > self._now_ms + FUTURE_TOLERANCE_MS:
            return
        if reserved_ms is None or plan is None or self._now_ms - reserved_ms > RETENTION_MS:
            self._keep_unattributed(resolution)
            return
        amount = resolution.amount_nanos
        cost = self.books.charge_without_price(plan, 0) if amount is None else amount
        entry = Entry(resolution.user_id, resolution.request_id, plan, "settle", HoldState.SETTLED, cost, cost, 0)
        entry.reconstructed, entry.provisional, entry.settled_as = True, amount is None, resolution.sent
        self._touch(plan, entry.user_id)
        self.books.add(entry)
        self._expect("reconstructed", entry)
        if amount is None:
            self._expect("unpriced", entry)
        self._conclude(entry, result)

    def _replace(self, resolution: Resolution, result: Resolved, entry: Entry) -> None:
        self._touch(entry.plan, entry.user_id)
        if entry.is_due(self._now_ms):
            self._expire(entry)
        before, amount = entry.state, resolution.amount_nanos
        cost = self.books.charge_without_price(entry.plan, entry.estimate_nanos) if amount is None else amount
        entry.state, entry.charged_nanos = HoldState.SETTLED, cost
        entry.settled_as, entry.provisional = resolution.sent, amount is None
        if before in {HoldState.EXPIRED, HoldState.RELEASED}:
            self._expect("late_settle", entry)
        if cost > entry.estimate_nanos and before in {HoldState.OPEN, HoldState.EXPIRED}:
            self._expect("overrun", entry)
            self.books.tally_fullest(entry, "overrun", cost - entry.estimate_nanos)
        if amount is None:
            self._expect("unpriced", entry)
        self._conclude(entry, result)

    def _charge_directly(self, resolution: Resolution, result: Resolved, known: Entry | None) -> None:
        """Invariants 3 and 5: a call that was made without asking is charged once, in the window of its time."""
        if known is not None:
            is_replay = isinstance(result, Settlement) and result.replayed
            is_right = is_replay if resolution.sent == known.sent else isinstance(result, RequestMismatch)
            self._require(3, is_right, f"{resolution.request_id} was charged twice")
            return
        plan, made_ms = resolution.plan, resolution.reserved_at_ms
        if plan is None or (made_ms is None and not plan.valid_from_ms <= self._now_ms < plan.valid_until_ms):
            self._require(6, isinstance(result, StalePlan), f"{resolution.request_id} was charged at another time")
            return
        if made_ms is not None and self._now_ms - made_ms > RETENTION_MS:
            self._keep_unattributed(resolution)
            return
        amount = resolution.amount_nanos
        cost = self.books.charge_without_price(plan, 0) if amount is None else amount
        entry = Entry(resolution.user_id, resolution.request_id, plan, resolution.sent, None, cost, cost, 0)
        self._touch(plan, entry.user_id)
        self.books.add(entry)
        if amount is None:
            self._expect("unpriced", entry)
        self._conclude(entry, result)

    def _keep_unattributed(self, resolution: Resolution) -> None:
        key = (resolution.user_id, resolution.request_id)
        if key not in self._unattributed:
            self.books.expect("unattributed", *key)
        self._unattributed.add(key)

    def _conclude(self, entry: Entry, result: Resolved) -> None:
        """Invariant 5: what is known to be spent is charged in full, whatever the limits say."""
        alerted = self.books.alert(entry, entry.charged_nanos)
        is_charged = isinstance(result, Settlement) and result.charged_nanos == entry.charged_nanos
        self._require(5, is_charged, f"{entry.request_id} cost {entry.charged_nanos} and was answered {result}")
        if isinstance(result, Settlement):
            self._require(7, (result.outcome is Outcome.WARN) is alerted, f"{entry.request_id} warned: {not alerted}")


def _action(budget: PlannedBudget) -> str:
    """Return the effective action, which the workspace's mode may have softened."""
    return budget.spec.split(FIELD)[1]


def _is_over(budget: PlannedBudget, numbers: Numbers, amount_nanos: int) -> bool:
    limit, used = budget.terms.limit_nanos, numbers[0] + numbers[1]
    return limit is not None and (used >= limit or used + amount_nanos > limit)
