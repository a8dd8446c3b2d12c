"""Adjustments in `ledger.memory_ledger`: an operator's credits, refunds and corrections."""

from collections.abc import Sequence
from dataclasses import replace

from ledger.adjustments import (
    ADJUSTMENT_FIELDS,
    Adjusted,
    AdjustedWindow,
    Adjustment,
    credit_exceeds_spend,
    moment_in_future,
    moment_too_old,
)
from ledger.decisions import EVENT_RETENTION_MS, Operation, StalePlan
from ledger.errors import CounterOverflow, RequestMismatch
from ledger.memory_breakdown import Breakdown
from ledger.memory_budgets import budgets_of, fullest
from ledger.memory_counters import Counter, Counters
from ledger.memory_log import EnforcementLog, Subject
from ledger.memory_records import Record, Records
from ledger.money import CAP_NANOS
from ledger.operations import first_difference
from ledger.windows import Window

KEPT_MS = 2 * EVENT_RETENTION_MS
"""Longer than any counter that an adjustment has changed."""


class Adjustments:
    """Corrects counters and totals in an operator's name: all of them, or none."""

    def __init__(self, counters: Counters, records: Records, log: EnforcementLog, breakdown: Breakdown) -> None:
        self._counters = counters
        self._records = records
        self._log = log
        self._breakdown = breakdown

    def adjust(self, adjustment: Adjustment, now_ms: int) -> Adjusted | StalePlan:
        """Do one adjustment, once a request id; raises what refuses it."""
        record = self._records.find(adjustment.user_id, adjustment.request_id, now_ms)
        if record is not None:
            return _replay(adjustment, record)
        at_ms, plan = now_ms if adjustment.at_ms is None else adjustment.at_ms, adjustment.plan
        counters = self._counters.planned(plan, adjustment.user_id)
        if adjustment.done_ms is None:
            if at_ms > now_ms:
                raise moment_in_future()
            if at_ms < now_ms - EVENT_RETENTION_MS:
                raise moment_too_old()
            if not plan.valid_from_ms <= at_ms < plan.valid_until_ms:
                return StalePlan(now_ms)
            self._refuse_excess(adjustment, counters)
        self._counters.correct(plan, adjustment.user_id, counters, spend_nanos=adjustment.amount_nanos)
        self._breakdown.correct(plan, adjustment.amount_nanos)
        self._log_event(adjustment, counters, now_ms if adjustment.done_ms is None else adjustment.done_ms)
        return self._keep(adjustment, counters, at_ms, now_ms)

    def _refuse_excess(self, adjustment: Adjustment, counters: Sequence[Counter]) -> None:
        """Refuse what takes a counter or total below zero, in the name of the emptiest, or past the cap."""
        amount, plan = adjustment.amount_nanos, adjustment.plan
        if any(amount > 0 and counter.spend_nanos + counter.held_nanos + amount > CAP_NANOS for counter in counters):
            raise CounterOverflow("a counter of this user would pass the cap of 8,000,000 USD")
        spends: list[tuple[Window, str | None, int]] = [
            (entry.window, None, counter.spend_nanos) for entry, counter in zip(plan.counters, counters, strict=True)
        ]
        rows = plan.tier_windows if plan.tier is not None else ()
        spends += [(row.window, row.tier, self._counters.of_tier(row.window, row.tier).spend_nanos) for row in rows]
        short = [entry for entry in spends if amount < 0 and entry[2] + amount < 0]
        if short:
            raise credit_exceeds_spend(*min(short, key=lambda entry: entry[2]))

    def _log_event(self, adjustment: Adjustment, counters: Sequence[Counter], now_ms: int) -> None:
        subject = Subject(
            user_id=adjustment.user_id,
            request_id=adjustment.request_id,
            tier=adjustment.plan.tier,
            meta=adjustment.meta,
        )
        budgets = budgets_of(adjustment.plan, counters)
        self._log.add(
            "adjusted",
            subject,
            at_ms=now_ms,
            reason="adjusted",
            amount_nanos=adjustment.amount_nanos,
            budgets=budgets,
            decider=fullest(budgets),
        )

    def _keep(self, adjustment: Adjustment, counters: Sequence[Counter], at_ms: int, now_ms: int) -> Adjusted:
        """Keep the answer for replays, and return it."""
        plan = adjustment.plan
        adjusted = Adjusted(
            request_id=adjustment.request_id,
            user_id=adjustment.user_id,
            tier=plan.tier,
            amount_nanos=adjustment.amount_nanos,
            stored_ms=now_ms if adjustment.done_ms is None else adjustment.done_ms,
            windows=tuple(
                AdjustedWindow(entry.window, counter.spend_nanos, counter.held_nanos, counter.calls)
                for entry, counter in zip(plan.counters, counters, strict=True)
            ),
        )
        self._records.add(
            Record(
                operation=Operation.ADJUST,
                plan=plan,
                user_id=adjustment.user_id,
                request_id=adjustment.request_id,
                sent=adjustment.sent,
                state=None,
                amount_nanos=adjustment.amount_nanos,
                charged_nanos=adjustment.amount_nanos,
                admitted_ms=at_ms,
                changed_ms=now_ms,
                adjusted=adjusted,
                kept_ms=KEPT_MS,
            )
        )
        return adjusted


def _replay(adjustment: Adjustment, record: Record) -> Adjusted:
    if record.adjusted is None or record.sent != adjustment.sent:
        field = first_difference(adjustment.sent, record.sent, ADJUSTMENT_FIELDS)
        raise RequestMismatch(f"this request_id was already used with another {field}", field=field)
    return replace(record.adjusted, replayed=True)
