"""What becomes of holds in `ledger.memory_ledger`: expiry, settle, release, extend."""

from dataclasses import dataclass, field, replace

from ledger.decisions import (
    FUTURE_TOLERANCE_MS,
    MAX_HOLD_MS,
    RETENTION_MS,
    HoldState,
    Operation,
    Outcome,
    Reason,
    Settlement,
    StalePlan,
)
from ledger.errors import HoldConflict, HoldNotFound, HoldTooOld, InvalidInput, LedgerError
from ledger.memory_breakdown import Breakdown
from ledger.memory_budgets import JudgedBudget, budgets_of, fullest, strongest
from ledger.memory_charges import RECONSTRUCTED_SENT, charge_without_price, charged_before, direct_record, note_usage
from ledger.memory_counters import Counters
from ledger.memory_log import EnforcementLog, Subject
from ledger.memory_records import Record, Records
from ledger.operations import Resolution, Resolved
from ledger.plans import Plan
from ledger.rules import OnExpiry

MAX_DUE_HOLDS = 64

CONFLICTS = {
    "not_a_hold": "this request id belongs to a charge, not to an open hold",
    "already_settled": "the hold was settled; the first settle is final",
    "already_released": "the hold was released",
    "hold_expired": "the hold is past its deadline; settle it, or reserve anew under another request id",
}


@dataclass(slots=True)
class Sweep:
    """What one call may still expire in passing: 64 due holds in all, and each user looked up once."""

    left: int = MAX_DUE_HOLDS
    users: set[str] = field(default_factory=set)


class Holds:
    """Ends holds, on the counters that were fixed when they were admitted."""

    def __init__(self, counters: Counters, records: Records, log: EnforcementLog, breakdown: Breakdown) -> None:
        self._counters = counters
        self._records = records
        self._log = log
        self._breakdown = breakdown

    def resolve(self, resolution: Resolution, now_ms: int, sweep: Sweep) -> Resolved:
        """Do one operation of a list."""
        if resolution.operation is Operation.EXPIRE:
            self.expire_due(resolution.user_id, now_ms, sweep)
            return None
        record = self._records.find(resolution.user_id, resolution.request_id, now_ms)
        if resolution.operation is Operation.SETTLE:
            return self._settle(resolution, record, now_ms)
        if resolution.operation is Operation.RECORD:
            return self._charge_directly(resolution, record, now_ms)
        if record is None:
            return HoldNotFound("no hold is known under this user_id and request_id")
        if record.operation is not Operation.RESERVE:
            return _conflict("not_a_hold")
        if record.state is HoldState.SETTLED:
            return _conflict("already_settled")
        if resolution.operation is Operation.RELEASE:
            return self._release(record, now_ms)
        return self._extend(record, resolution.ttl_ms, now_ms)

    def expire_due(self, user_id: str, now_ms: int, sweep: Sweep) -> None:
        """Expire the user's due holds, as many as the call has left."""
        if user_id in sweep.users:
            return
        sweep.users.add(user_id)
        due = [record for record in self._records.open_holds(user_id) if record.is_due(now_ms)]
        for record in due[: sweep.left]:
            sweep.left -= 1
            self._expire(record, now_ms)

    def _expire(self, record: Record, now_ms: int) -> None:
        """End a hold whose deadline has passed: charged at its estimate, or given back."""
        is_charged = record.plan.on_expiry is OnExpiry.CHARGE
        charged = record.amount_nanos if is_charged else 0
        self._breakdown.take_record(record)
        self._move(record, spend_nanos=charged, held_nanos=-record.amount_nanos)
        record.state, record.charged_nanos, record.changed_ms = HoldState.EXPIRED, charged, now_ms
        self._breakdown.add_record(record)
        budgets = self._budgets(record)
        decider = fullest(budgets)
        self._record_event("expired", record, now_ms, "charged" if is_charged else "released", record.amount_nanos)
        if decider is not None:
            self._log.count(budgets[decider], "expired", record.amount_nanos)
        if is_charged:
            self._warn(record, charged, now_ms)

    def _settle(self, resolution: Resolution, record: Record | None, now_ms: int) -> Settlement | LedgerError:
        if record is None:
            return self._settle_unknown(resolution, now_ms)
        if record.operation in {Operation.CHECK, Operation.ADJUST, Operation.RECORD}:
            return _conflict("not_a_hold")
        if record.state is HoldState.SETTLED:
            return self._settle_again(resolution, record, now_ms)
        if record.is_due(now_ms):
            self._expire(record, now_ms)
        return self._replace(resolution, record, now_ms)

    def _settle_again(self, resolution: Resolution, record: Record, now_ms: int) -> Settlement | LedgerError:
        """Replay the first settle, or correct the amount of one that had no price, once."""
        if resolution.sent == record.settle_sent and record.settlement is not None:
            return replace(record.settlement, replayed=True)
        if record.unpriced and resolution.amount_nanos is not None:
            return self._replace(resolution, record, now_ms)
        return _conflict("already_settled")

    def _settle_unknown(self, resolution: Resolution, now_ms: int) -> Settlement | LedgerError:
        if resolution.reserved_at_ms is None:
            self._keep_unattributed(resolution, "missing", now_ms)
            return HoldNotFound("no hold is known under this user_id and request_id; to charge it send reserved_at")
        if resolution.reserved_at_ms > now_ms + FUTURE_TOLERANCE_MS:
            return InvalidInput("reserved_at lies in the future of the store's clock", field="reserved_at")
        if now_ms - resolution.reserved_at_ms > RETENTION_MS:
            self._keep_unattributed(resolution, "too_old", now_ms)
            return HoldTooOld("reserved_at is older than 48 hours; kept as unattributed", field="reserved_at")
        if resolution.plan is None:
            raise ValueError("a settle with reserved_at needs the plan of that moment")
        return self._reconstruct(resolution, resolution.plan, resolution.reserved_at_ms, now_ms)

    def _keep_unattributed(self, resolution: Resolution, reason: str, now_ms: int) -> None:
        """Keep the amount of a settle that belongs to no hold, once a request id."""
        if not self._records.mark_unattributed(resolution.user_id, resolution.request_id, now_ms):
            return
        amount = resolution.amount_nanos or 0
        self._log.unattributed.count += 1
        self._log.unattributed.nanos += amount
        subject = Subject(
            user_id=resolution.user_id,
            request_id=resolution.request_id,
            group=resolution.group,
            model=resolution.model,
            price_version=resolution.price_version,
        )
        self._log.add("unattributed", subject, at_ms=now_ms, reason=reason, amount_nanos=amount)

    def _reconstruct(self, resolution: Resolution, plan: Plan, reserved_at_ms: int, now_ms: int) -> Settlement:
        """Charge a settle whose hold is unknown under its own id, in the windows of its reserve."""
        unpriced = resolution.amount_nanos is None
        amount = charge_without_price(plan, 0) if resolution.amount_nanos is None else resolution.amount_nanos
        record = Record(
            operation=Operation.SETTLE,
            plan=plan,
            user_id=resolution.user_id,
            request_id=resolution.request_id,
            sent=RECONSTRUCTED_SENT,
            state=HoldState.SETTLED,
            amount_nanos=amount,
            charged_nanos=amount,
            admitted_ms=min(reserved_at_ms, now_ms),
            changed_ms=now_ms,
            group=resolution.group,
            settle_sent=resolution.sent,
        )
        note_usage(record, resolution)
        self._records.add(record)
        counters = self._counters.planned(plan, resolution.user_id)
        self._counters.count_call(plan, resolution.user_id, counters, spend_nanos=amount)
        self._record_event("reconstructed", record, now_ms, "reconstructed", amount)
        if unpriced:
            self._record_event("unpriced", record, now_ms, "unpriced", amount)
        budgets = self._warn(record, amount, now_ms)
        return self._conclude(record, Operation.SETTLE, budgets, HoldState.UNKNOWN, now_ms)

    def _charge_directly(
        self, resolution: Resolution, known: Record | None, now_ms: int
    ) -> Settlement | StalePlan | LedgerError:
        """Charge a call that was made without asking; without a user only its tier's totals and the breakdown."""
        if known is not None:
            return charged_before(resolution, known)
        plan, made_ms = resolution.plan, resolution.reserved_at_ms
        if plan is None:
            raise ValueError("a direct charge needs a plan")
        if made_ms is not None and now_ms - made_ms > RETENTION_MS:
            self._keep_unattributed(resolution, "too_old", now_ms)
            return HoldTooOld("reserved_at is older than 48 hours; kept as unattributed", field="reserved_at")
        if made_ms is None and not plan.valid_from_ms <= now_ms < plan.valid_until_ms:
            return StalePlan(now_ms)
        record = direct_record(resolution, plan, now_ms)
        self._records.add(record)
        counters = self._counters.planned(plan, resolution.user_id) if resolution.user_id else None
        self._counters.count_call(plan, resolution.user_id, counters, spend_nanos=record.charged_nanos)
        if record.unpriced:
            self._record_event("unpriced", record, now_ms, "unpriced", record.charged_nanos)
        budgets = self._warn(record, record.charged_nanos, now_ms)
        return self._conclude(record, Operation.RECORD, budgets, HoldState.UNKNOWN, now_ms)

    def _replace(self, resolution: Resolution, record: Record, now_ms: int) -> Settlement:
        """Put the actual amount in the place of what the hold holds or has charged."""
        state_before = record.state or HoldState.UNKNOWN
        actual = resolution.amount_nanos
        if actual is None:
            actual = charge_without_price(record.plan, record.amount_nanos)
        self._breakdown.take_record(record)
        self._move(
            record,
            spend_nanos=actual - record.charged_nanos,
            held_nanos=-record.amount_nanos if record.is_open else 0,
            calls=1 if state_before is HoldState.RELEASED else 0,
        )
        record.state, record.charged_nanos, record.changed_ms = HoldState.SETTLED, actual, now_ms
        record.settle_sent = resolution.sent
        note_usage(record, resolution)
        self._log_settle(record, state_before, now_ms)
        budgets = self._warn(record, actual, now_ms)
        return self._conclude(record, Operation.SETTLE, budgets, state_before, now_ms)

    def _log_settle(self, record: Record, state_before: HoldState, now_ms: int) -> None:
        """Log a settle that came late, cost more than was held, or has no price."""
        excess = record.charged_nanos - record.amount_nanos
        if state_before in {HoldState.EXPIRED, HoldState.RELEASED}:
            self._record_event("late_settle", record, now_ms, state_before, record.charged_nanos)
        if excess > 0 and state_before in {HoldState.OPEN, HoldState.EXPIRED}:
            self._record_event("overrun", record, now_ms, "overrun", excess)
            budgets = self._budgets(record)
            decider = fullest(budgets)
            if decider is not None:
                self._log.count(budgets[decider], "overrun", excess)
        if record.unpriced:
            self._record_event("unpriced", record, now_ms, "unpriced", record.charged_nanos)

    def _release(self, record: Record, now_ms: int) -> Settlement:
        if record.state is HoldState.RELEASED and record.settlement is not None:
            return replace(record.settlement, replayed=True)
        if record.is_due(now_ms):
            self._expire(record, now_ms)
        state_before = record.state or HoldState.UNKNOWN
        held = record.amount_nanos if record.is_open else 0
        self._breakdown.take_record(record)
        self._move(record, spend_nanos=-record.charged_nanos, held_nanos=-held, calls=-1)
        record.state, record.charged_nanos, record.changed_ms = HoldState.RELEASED, 0, now_ms
        return self._conclude(record, Operation.RELEASE, self._budgets(record), state_before, now_ms)

    def _extend(self, record: Record, ttl_ms: int, now_ms: int) -> Settlement | LedgerError:
        if record.state is HoldState.RELEASED:
            return _conflict("already_released")
        if record.state is HoldState.EXPIRED or record.is_due(now_ms):
            return _conflict("hold_expired")
        record.deadline_ms = min(now_ms + ttl_ms, record.admitted_ms + MAX_HOLD_MS)
        budgets = self._budgets(record)
        settlement = self._settlement(record, Operation.EXTEND, budgets, HoldState.OPEN, now_ms)
        settlement.deadline_ms = record.deadline_ms
        return settlement

    def _conclude(
        self, record: Record, operation: Operation, budgets: list[JudgedBudget], state_before: HoldState, now_ms: int
    ) -> Settlement:
        """Answer the end of a hold, and keep the answer for replays."""
        self._breakdown.add_record(record)
        record.settlement = self._settlement(record, operation, budgets, state_before, now_ms)
        return record.settlement

    def _settlement(
        self, record: Record, operation: Operation, budgets: list[JudgedBudget], state_before: HoldState, now_ms: int
    ) -> Settlement:
        """Return the answer; `budgets` were looked at after the operation."""
        outcome, decider = strongest(budgets)
        return Settlement(
            operation,
            record.request_id,
            record.user_id,
            record.plan.tier,
            outcome,
            Reason.THRESHOLD if outcome is Outcome.WARN else _calm_reason(budgets),
            tuple(budget.answer() for budget in budgets),
            decider,
            record.plan.revision,
            now_ms,
            state_before,
            record.charged_nanos,
            record.amount_nanos,
            unpriced=operation in {Operation.SETTLE, Operation.RECORD} and record.unpriced,
        )

    def _move(self, record: Record, *, spend_nanos: int = 0, held_nanos: int = 0, calls: int = 0) -> None:
        self._counters.move(record.plan, record.user_id, spend_nanos=spend_nanos, held_nanos=held_nanos, calls=calls)

    def _budgets(self, record: Record) -> list[JudgedBudget]:
        """Return the hold's budgets, by the rules at its admission, over the counters as they are now."""
        windows = [entry.window for entry in record.plan.counters]
        return budgets_of(record.plan, [self._counters.of_user(window, record.user_id) for window in windows])

    def _warn(self, record: Record, amount_nanos: int, now_ms: int) -> list[JudgedBudget]:
        """Fire the thresholds that a charge has reached, with one event for all of them. Returns the budgets."""
        budgets = self._budgets(record)
        fired = [budget.cross_thresholds() for budget in budgets]
        if any(fired):
            _, decider = strongest(budgets)
            self._log.add(
                "warned",
                _subject(record),
                at_ms=now_ms,
                reason=Reason.THRESHOLD,
                amount_nanos=amount_nanos,
                budgets=budgets,
                decider=decider,
            )
            self._log.count_outcomes(budgets, amount_nanos)
        return budgets

    def _record_event(self, kind: str, record: Record, now_ms: int, reason: str, amount_nanos: int) -> None:
        """Log what happened to a hold, in the name of its fullest budget."""
        budgets = self._budgets(record)
        self._log.add(
            kind,
            _subject(record),
            at_ms=now_ms,
            reason=reason,
            amount_nanos=amount_nanos,
            budgets=budgets,
            decider=fullest(budgets),
        )


def _subject(record: Record) -> Subject:
    return Subject(
        user_id=record.user_id,
        request_id=record.request_id,
        tier=record.plan.tier,
        group=record.group,
        model=record.model,
        price_version=record.price_version,
    )


def _calm_reason(budgets: list[JudgedBudget]) -> Reason:
    if not budgets:
        return Reason.NO_RULE
    if all(budget.terms.limit_nanos is None for budget in budgets):
        return Reason.UNLIMITED
    return Reason.UNDER_LIMIT


def _conflict(code: str) -> HoldConflict:
    return HoldConflict(CONFLICTS[code], code=code)
