"""The ledger in plain dictionaries: the executable specification that the programs in ``lua/`` are held against.

Exact and simple, not fast: every step reads what it needs anew. Tests use it as a double; nothing in it survives the
process.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ledger.adjustments import Adjusted, Adjustment
from ledger.breakdown import Rows
from ledger.decisions import (
    EVENT_RETENTION_MS,
    CounterState,
    Decision,
    HoldState,
    Operation,
    Outcome,
    Reason,
    StalePlan,
    TooLate,
    UserUsage,
    Warning,  # noqa: A004 - the contract's word
    WarningKind,
)
from ledger.errors import CounterOverflow, RequestMismatch
from ledger.memory_adjustments import Adjustments
from ledger.memory_breakdown import Breakdown
from ledger.memory_budgets import JudgedBudget, budgets_of, fullest, strongest
from ledger.memory_counters import Counter, Counters
from ledger.memory_holds import Holds, Sweep
from ledger.memory_log import EnforcementLog, Event, Subject, Unattributed
from ledger.memory_records import Record, Records
from ledger.memory_restores import Restores
from ledger.money import CAP_NANOS
from ledger.operations import Admission, Admitted, Resolution, Resolved, first_difference
from ledger.plans import Plan
from ledger.restores import Restore, Restored
from ledger.windows import Window


@dataclass(slots=True)
class Call:
    """One admission under decision: its counters, and its budgets over them."""

    admission: Admission
    counters: list[Counter]
    budgets: list[JudgedBudget]
    now_ms: int

    @property
    def amount_nanos(self) -> int:
        """What is to be charged or held."""
        return self.admission.amount_nanos

    @property
    def is_check(self) -> bool:
        """Say whether the amount is charged, not held."""
        return self.admission.operation is Operation.CHECK


class MemoryLedger:
    """`ledger.operations.Ledger` in memory. `clock` returns Unix milliseconds. All users are in partition 0."""

    def __init__(self, *, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._counters = Counters()
        self._records = Records()
        self._log = EnforcementLog()
        self._breakdown = Breakdown()
        self._adjustments = Adjustments(self._counters, self._records, self._log, self._breakdown)
        self._holds = Holds(self._counters, self._records, self._log, self._breakdown)
        self._restores = Restores(self._counters, self._records, self._log, self._holds, self._breakdown)

    async def admit(self, admissions: Sequence[Admission]) -> list[Admitted]:
        """Decide checks and reserves in order."""
        now_ms, sweep = self._clock(), Sweep()
        return [self._admit(admission, now_ms, sweep) for admission in admissions]

    async def resolve(self, resolutions: Sequence[Resolution]) -> list[Resolved]:
        """Settle, release, extend and expire in order."""
        now_ms, sweep = self._clock(), Sweep()
        return [self._holds.resolve(resolution, now_ms, sweep) for resolution in resolutions]

    async def adjust(self, adjustment: Adjustment) -> Adjusted | StalePlan:
        """Correct what a user has spent."""
        return self._adjustments.adjust(adjustment, self._clock())

    async def restore(self, restores: Sequence[Restore]) -> list[Restored]:
        """Do again what a journal tells."""
        now_ms = self._clock()
        return [self._restores.restore(restore, now_ms) for restore in restores]

    async def usage(self, user_id: str, plan: Plan) -> UserUsage:
        """Read the counters of `plan` for a user; a new zone is shown as it would start."""
        counters = tuple(counter.state() for counter in self._counters.planned(plan, user_id))
        return UserUsage(self._clock(), counters, len(self._records.open_holds(user_id)))

    async def due_users(self, partition: int, limit: int) -> list[str]:
        """List users with holds past their deadline, the longest overdue first; there is only partition 0."""
        return self._records.users_due(self._clock())[:limit] if partition == 0 else []

    async def trim_events(self, partition: int) -> None:
        """Drop the events that are older than 35 days; there is only partition 0."""
        if partition == 0:
            self._log.trim(oldest_ms=self._clock() - EVENT_RETENTION_MS)

    async def store_time_ms(self) -> int:
        """Return the clock's time, Unix milliseconds."""
        return self._clock()

    def counter(self, window: Window, user_id: str) -> CounterState:
        """Return a user's counter; zero if nothing was ever written to it."""
        return self._counters.of_user(window, user_id).state()

    def tier_total(self, window: Window, tier: str) -> CounterState:
        """Return a tier's totals: spend and calls."""
        return self._counters.of_tier(window, tier).state()

    def tally(self, window: Window, rule_id: str) -> dict[str, int]:
        """Return the counts of a rule's outcomes in a window, without zeros."""
        return self._log.tally(window, rule_id)

    def breakdown(self, day: Window) -> Rows:
        """Return what was used in a day of the workspace."""
        return self._breakdown.of_day(day)

    def events(self, user_id: str | None = None) -> list[Event]:
        """Return the enforcement log in order, of all users or of one."""
        return [event for event in self._log.events if user_id is None or event["user"] == user_id]

    def unattributed(self) -> Unattributed:
        """Return count and sum of the settles that belong to no hold."""
        return self._log.unattributed

    def _admit(self, admission: Admission, now_ms: int, sweep: Sweep) -> Admitted:
        record = self._records.find(admission.user_id, admission.request_id, now_ms)
        if record is not None:
            return self._replay(admission, record, now_ms)
        if now_ms > admission.not_after_ms:
            return TooLate(now_ms)
        plan = admission.plan
        if not plan.valid_from_ms <= now_ms < plan.valid_until_ms:
            return StalePlan(now_ms)
        refusal = admission.refusal or (Reason.STOPPED if plan.stopped else None)
        if refusal is None and self._would_overflow(admission):
            return CounterOverflow("a counter of this user would pass the cap of 8,000,000 USD")
        self._holds.expire_due(admission.user_id, now_ms, sweep)
        counters = self._counters.planned(plan, admission.user_id)
        call = Call(admission, counters, budgets_of(plan, counters), now_ms)
        return self._decide(call) if refusal is None else self._refuse_unjudged(call, refusal)

    def _replay(self, admission: Admission, record: Record, now_ms: int) -> Decision | RequestMismatch:
        if record.sent != admission.sent or record.decision is None:
            field = first_difference(admission.sent, record.sent)
            return RequestMismatch(f"this request_id was already used with another {field}", field=field)
        state = HoldState.EXPIRED if record.is_due(now_ms) else record.state
        record.note_attempt(admission.attempt, now_ms)
        return replace(record.decision, replayed=True, hold_state=state)

    def _would_overflow(self, admission: Admission) -> bool:
        return any(
            counter.spend_nanos + counter.held_nanos + admission.amount_nanos > CAP_NANOS
            for counter in self._counters.planned(admission.plan, admission.user_id)
        )

    def _refuse_unjudged(self, call: Call, reason: Reason) -> Decision:
        """Refuse a call whatever its budgets say; one rule counts it: the one it names, else the fullest."""
        named = call.admission.refusal_budget
        decider = fullest(call.budgets) if named is None else named
        if decider is not None:
            self._log.count(call.budgets[decider], "blocked", call.amount_nanos)
        return self._refuse(call, decider, reason)

    def _decide(self, call: Call) -> Decision:
        for budget in call.budgets:
            budget.judge(call.amount_nanos)
        outcome, decider = strongest(call.budgets)
        if decider is None or outcome is not Outcome.BLOCK:
            return self._proceed(call)
        self._log.count_outcomes(call.budgets, call.amount_nanos)
        reason = Reason.HELD_CAPACITY if call.budgets[decider].held_only else Reason.LIMIT
        return self._refuse(call, decider, reason)

    def _refuse(self, call: Call, decider: int | None, reason: Reason) -> Decision:
        """Answer a block: nothing is charged, held, marked or kept but the event."""
        self._add_event("blocked", call, decider, reason)
        return self._answer(call, Outcome.BLOCK, decider, reason)

    def _proceed(self, call: Call) -> Decision:
        """Charge or hold the amount on every counter and total, warn, log, and keep the answer."""
        admission, amount = call.admission, call.amount_nanos
        spend, held = (amount, 0) if call.is_check else (0, amount)
        self._counters.count_call(admission.plan, admission.user_id, call.counters, spend_nanos=spend, held_nanos=held)
        self._warn(call)
        for budget in call.budgets:
            budget.refill()
        outcome, decider = strongest(call.budgets)
        reason = _reason(admission, outcome, None if decider is None else call.budgets[decider])
        if outcome is not Outcome.ALLOW:
            self._add_event("warned" if outcome is Outcome.WARN else "dry_run", call, decider, reason)
            self._log.count_outcomes(call.budgets, amount)
        if admission.unpriced:
            self._add_event("unpriced", call, decider, Reason.UNPRICED)
        decision = self._answer(call, outcome, decider, reason)
        record = _record(call, decision)
        self._records.add(record)
        self._breakdown.add_record(record)
        return decision

    def _warn(self, call: Call) -> None:
        """Warn of passed limits, count users of dry runs, and let a charge fire the thresholds it reached."""
        for budget in call.budgets:
            first = budget.over and budget.see_limit()
            if budget.outcome is Outcome.WARN:
                budget.warning = Warning(WarningKind.LIMIT, None, first=first)
            elif first:
                self._log.count_dry_run_user(budget)
            if call.is_check:
                budget.cross_thresholds()

    def _answer(self, call: Call, outcome: Outcome, decider: int | None, reason: Reason) -> Decision:
        admission, plan = call.admission, call.admission.plan
        is_open = not call.is_check and outcome is not Outcome.BLOCK
        return Decision(
            admission.operation,
            admission.request_id,
            admission.user_id,
            plan.tier,
            outcome,
            reason,
            tuple(budget.answer() for budget in call.budgets),
            decider,
            plan.revision,
            call.now_ms,
            admission.ttl_ms,
            retry_after_ms=self._retry_after_ms(call) if reason is Reason.HELD_CAPACITY else None,
            hold_state=HoldState.OPEN if is_open else None,
        )

    def _retry_after_ms(self, call: Call) -> int | None:
        """Return how long until the first of the user's open holds is due."""
        holds = self._records.open_holds(call.admission.user_id)
        return max(0, holds[0].deadline_ms - call.now_ms) if holds else None

    def _add_event(self, kind: str, call: Call, decider: int | None, reason: Reason) -> None:
        admission = call.admission
        subject = Subject(
            user_id=admission.user_id,
            request_id=admission.request_id,
            tier=admission.plan.tier,
            group=admission.group,
            model=admission.model,
            price_version=admission.price_version,
            meta=admission.meta,
        )
        self._log.add(
            kind,
            subject,
            at_ms=call.now_ms,
            reason=reason,
            amount_nanos=call.amount_nanos,
            budgets=call.budgets,
            decider=decider,
        )


def _reason(admission: Admission, outcome: Outcome, decider: JudgedBudget | None) -> Reason:
    """Return why a call proceeds as it does; `decider` is None only for an allow without budgets."""
    if decider is None or outcome is Outcome.ALLOW:
        return Reason.UNPRICED if admission.unpriced else admission.plan.calm_reason
    if outcome is Outcome.WARN and not decider.over:
        return Reason.THRESHOLD
    return Reason.HELD_CAPACITY if decider.held_only else Reason.LIMIT


def _record(call: Call, decision: Decision) -> Record:
    admission, amount = call.admission, call.amount_nanos
    return Record(
        operation=admission.operation,
        plan=admission.plan,
        user_id=admission.user_id,
        request_id=admission.request_id,
        sent=admission.sent,
        state=decision.hold_state,
        amount_nanos=amount,
        charged_nanos=amount if call.is_check else 0,
        admitted_ms=call.now_ms,
        changed_ms=call.now_ms,
        deadline_ms=0 if call.is_check else call.now_ms + admission.ttl_ms,
        group=admission.group,
        model=admission.model,
        price_version=admission.price_version,
        input_tokens=admission.input_tokens if call.is_check else 0,
        output_tokens=admission.output_tokens if call.is_check else 0,
        unpriced=admission.unpriced,
        attempts=[admission.attempt] if admission.attempt else [],
        decision=decision,
    )
