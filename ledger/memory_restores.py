"""Replays of journals in `ledger.memory_ledger`: what was done then is done again, once."""

from dataclasses import replace

from ledger.decisions import RETENTION_MS, Decision, HoldState, Operation, Outcome, Reason, Settlement, WarningKind
from ledger.errors import HoldNotFound
from ledger.memory_breakdown import Breakdown
from ledger.memory_budgets import JudgedBudget, budgets_of, fullest, strongest
from ledger.memory_counters import Counter, Counters
from ledger.memory_holds import Holds, Sweep
from ledger.memory_log import EnforcementLog, Subject
from ledger.memory_records import Record, Records
from ledger.operations import Resolution
from ledger.plans import Plan
from ledger.restores import Restore, Restored, RestoreKind

ENDS = {
    RestoreKind.SETTLE: Operation.SETTLE,
    RestoreKind.RELEASE: Operation.RELEASE,
    RestoreKind.EXTEND: Operation.EXTEND,
    RestoreKind.RECORD: Operation.RECORD,
}


class Restores:
    """Does operations of a journal again, with the clock of then."""

    def __init__(
        self, counters: Counters, records: Records, log: EnforcementLog, holds: Holds, breakdown: Breakdown
    ) -> None:
        self._counters = counters
        self._records = records
        self._log = log
        self._holds = holds
        self._breakdown = breakdown

    def restore(self, restore: Restore, now_ms: int) -> Restored:
        """Do one operation again."""
        if now_ms - restore.at_ms > RETENTION_MS:
            return Restored.TOO_OLD
        if restore.kind is RestoreKind.VOID:
            return Restored.EARLY if now_ms <= restore.not_after_ms else self._void(restore, now_ms)
        if restore.kind in ENDS:
            return self._end(restore, now_ms)
        plan = restore.plan
        if plan is None:
            raise ValueError(f"a {restore.kind} needs its plan")
        counters = self._counters.planned(plan, restore.user_id)
        budgets = budgets_of(plan, counters)
        if restore.kind is RestoreKind.DENY:
            return self._deny(restore, budgets)
        record = self._records.find(restore.user_id, restore.request_id, now_ms)
        if record is not None:
            return _known(restore, record, now_ms)
        self._admit(restore, plan, counters, budgets).changed_ms = now_ms
        return Restored.APPLIED

    def _end(self, restore: Restore, now_ms: int) -> Restored:
        """Settle, release, extend or charge as it was done then."""
        record = self._records.find(restore.user_id, restore.request_id, now_ms)
        charges = {RestoreKind.SETTLE, RestoreKind.RECORD}
        if record is None and (restore.kind not in charges or restore.plan is None):
            return Restored.MISSING
        resolution = Resolution(
            operation=ENDS[restore.kind],
            user_id=restore.user_id,
            request_id=restore.request_id,
            amount_nanos=restore.amount_nanos,
            sent=restore.sent,
            ttl_ms=restore.ttl_ms,
            reserved_at_ms=restore.reserved_at_ms,
            plan=restore.plan,
            group=restore.group,
            model=restore.model,
            price_version=restore.price_version,
            input_tokens=restore.input_tokens,
            output_tokens=restore.output_tokens,
        )
        resolved = self._holds.resolve(resolution, restore.at_ms, Sweep())
        self._records.touch(restore.user_id, restore.request_id, now_ms)
        if isinstance(resolved, Settlement):
            return Restored.KNOWN if resolved.replayed else Restored.APPLIED
        return Restored.MISSING if isinstance(resolved, HoldNotFound) else Restored.CONFLICT

    def _admit(self, restore: Restore, plan: Plan, counters: list[Counter], budgets: list[JudgedBudget]) -> Record:
        """Charge or hold, log what was logged then, and keep the answer. Returns the record."""
        amount, is_check = restore.amount_nanos or 0, restore.kind is RestoreKind.CHECK
        spend, held = (amount, 0) if is_check else (0, amount)
        self._counters.count_call(plan, restore.user_id, counters, spend_nanos=spend, held_nanos=held)
        decision = restore.decision
        if decision is None:
            decision = self._degraded(restore, plan, budgets)
        else:
            self._repeat_outcome(restore, decision, budgets)
        record = Record(
            operation=Operation(restore.kind),
            plan=plan,
            user_id=restore.user_id,
            request_id=restore.request_id,
            sent=restore.sent,
            state=None if is_check else HoldState.OPEN,
            amount_nanos=amount,
            charged_nanos=spend,
            admitted_ms=restore.at_ms,
            changed_ms=restore.at_ms,
            deadline_ms=0 if is_check else restore.at_ms + restore.ttl_ms,
            group=restore.group,
            model=restore.model,
            price_version=restore.price_version,
            input_tokens=restore.input_tokens if is_check else 0,
            output_tokens=restore.output_tokens if is_check else 0,
            unpriced=restore.unpriced,
            attempts=[restore.attempt] if restore.attempt else [],
            decision=replace(decision, hold_state=None if is_check else HoldState.OPEN),
        )
        self._records.add(record)
        self._breakdown.add_record(record)
        return record

    def _repeat_outcome(self, restore: Restore, decision: Decision, budgets: list[JudgedBudget]) -> None:
        """Set the marks that the call has set, and log and count what was logged and counted then."""
        for budget, then in zip(budgets, decision.budgets, strict=True):
            is_over = then.outcome is Outcome.DRY_RUN or (
                then.warning is not None and then.warning.kind is WarningKind.LIMIT
            )
            if is_over and budget.see_limit() and then.outcome is Outcome.DRY_RUN:
                self._log.count_dry_run_user(budget)
            if restore.kind is RestoreKind.CHECK:
                budget.cross_thresholds()
            budget.outcome = then.outcome
        if decision.outcome is not Outcome.ALLOW:
            kind = "warned" if decision.outcome is Outcome.WARN else "dry_run"
            self._add_event(kind, restore, budgets, decision.decider, decision.reason)
            self._log.count_outcomes(budgets, restore.amount_nanos or 0)
        if restore.unpriced:
            self._add_event("unpriced", restore, budgets, decision.decider, Reason.UNPRICED)

    def _degraded(self, restore: Restore, plan: Plan, budgets: list[JudgedBudget]) -> Decision:
        """Log what was allowed without the store, and let its charge fire thresholds. Returns the answer to keep."""
        reason = restore.reason or Reason.STORE_UNAVAILABLE
        fired = [budget.cross_thresholds() for budget in budgets if restore.kind is RestoreKind.CHECK]
        for budget in budgets:
            budget.refill()
        if any(fired):
            self._add_event("warned", restore, budgets, strongest(budgets)[1], Reason.THRESHOLD)
            self._log.count_outcomes(budgets, restore.amount_nanos or 0)
        outcome, decider = strongest(budgets)
        self._add_event("degraded", restore, budgets, decider, reason)
        if restore.unpriced:
            self._add_event("unpriced", restore, budgets, decider, Reason.UNPRICED)
        return Decision(
            Operation(restore.kind),
            restore.request_id,
            restore.user_id,
            plan.tier,
            outcome,
            reason,
            tuple(budget.answer() for budget in budgets),
            decider,
            plan.revision,
            restore.at_ms,
            restore.ttl_ms,
        )

    def _deny(self, restore: Restore, budgets: list[JudgedBudget]) -> Restored:
        """Log and count what was refused without the store, in the name of the fullest budget."""
        decider = fullest(budgets)
        if decider is not None:
            self._log.count(budgets[decider], "blocked", restore.amount_nanos or 0)
        self._add_event("blocked", restore, budgets, decider, restore.reason or Reason.STORE_UNAVAILABLE)
        return Restored.APPLIED

    def _void(self, restore: Restore, now_ms: int) -> Restored:
        """Undo a call that has landed although its caller was told no, unless another attempt was told of it."""
        record = self._records.find(restore.user_id, restore.request_id, now_ms)
        if record is None or restore.attempt not in record.attempts:
            return Restored.KNOWN
        record.attempts = [attempt for attempt in record.attempts if attempt != restore.attempt]
        record.changed_ms = now_ms
        if record.attempts or record.state is HoldState.SETTLED:
            return Restored.APPLIED
        held = record.amount_nanos if record.is_open else 0
        self._breakdown.take_record(record)
        self._counters.move(
            record.plan,
            record.user_id,
            spend_nanos=-record.charged_nanos,
            held_nanos=-held,
            calls=0 if record.state is HoldState.RELEASED else -1,
        )
        subject = Subject(
            user_id=record.user_id,
            request_id=record.request_id,
            tier=record.plan.tier,
            group=record.group,
            model=record.model,
            price_version=record.price_version,
        )
        self._log.add(
            "voided",
            subject,
            at_ms=restore.at_ms,
            reason=Reason.STORE_UNAVAILABLE,
            amount_nanos=held or record.charged_nanos,
        )
        self._records.remove(record)
        return Restored.APPLIED

    def _add_event(
        self, kind: str, restore: Restore, budgets: list[JudgedBudget], decider: int | None, reason: Reason
    ) -> None:
        subject = Subject(
            user_id=restore.user_id,
            request_id=restore.request_id,
            tier=restore.plan.tier if restore.plan else None,
            group=restore.group,
            model=restore.model,
            price_version=restore.price_version,
            meta=restore.meta,
        )
        self._log.add(
            kind,
            subject,
            at_ms=restore.at_ms,
            reason=reason,
            amount_nanos=restore.amount_nanos or 0,
            budgets=budgets,
            decider=decider,
        )


def _known(restore: Restore, record: Record, now_ms: int) -> Restored:
    """Say what the record of a known id means for an admission that is told again."""
    if record.operation is not Operation.SETTLE and record.sent != restore.sent:
        return Restored.CONFLICT
    record.note_attempt(restore.attempt, now_ms)
    return Restored.KNOWN
