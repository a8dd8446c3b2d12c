"""Ledgers with one bug each, one for each invariant of the contract: the checks must find them."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from ledger.adjustments import Adjustment
from ledger.decisions import Decision, Outcome, Reason, Settlement
from ledger.memory_adjustments import Adjustments
from ledger.memory_budgets import strongest
from ledger.memory_counters import Counter
from ledger.memory_holds import Holds
from ledger.memory_ledger import Call, MemoryLedger
from ledger.memory_records import Record
from ledger.operations import Resolution
from ledger.plans import Plan


class AdmitsPastHolds(MemoryLedger):
    """Invariant 1: what is only held does not count against the limit."""

    def _decide(self, call: Call) -> Decision:
        for budget in call.budgets:
            budget.judge(call.amount_nanos)
            if budget.held_only:
                budget.outcome, budget.over = Outcome.ALLOW, False
        outcome, _ = strongest(call.budgets)
        return super()._decide(call) if outcome is Outcome.BLOCK else self._proceed(call)


class SkipsTheLastCounter(MemoryLedger):
    """Invariant 2: one counter of the call is left as it was."""

    def _proceed(self, call: Call) -> Decision:
        decision = super()._proceed(call)
        amount = call.amount_nanos
        call.counters[-1].add(
            spend_nanos=-amount if call.is_check else 0, held_nanos=0 if call.is_check else -amount, calls=-1
        )
        return decision


class ForgetsItsAnswers(MemoryLedger):
    """Invariant 3: a check is not remembered, so its retry is charged again."""

    def _proceed(self, call: Call) -> Decision:
        decision = super()._proceed(call)
        if call.is_check:
            del self._records._records[decision.user_id, decision.request_id]
        return decision


class LeaksHolds(MemoryLedger):
    """Invariant 4: ending a hold does not free what it held."""

    def __init__(self, *, clock: Callable[[], int]) -> None:
        super().__init__(clock=clock)
        self._holds = _HoldsThatStay(self._counters, self._records, self._log, self._breakdown)


class _HoldsThatStay(Holds):
    def _move(self, record: Record, *, spend_nanos: int = 0, held_nanos: int = 0, calls: int = 0) -> None:
        super()._move(record, spend_nanos=spend_nanos, calls=calls)


class CreditsTheEmpty(MemoryLedger):
    """Invariant 4 again: a credit may take more than was spent."""

    def __init__(self, *, clock: Callable[[], int]) -> None:
        super().__init__(clock=clock)
        self._adjustments = _AdjustmentsThatGive(self._counters, self._records, self._log, self._breakdown)


class _AdjustmentsThatGive(Adjustments):
    def _refuse_excess(self, adjustment: Adjustment, counters: Sequence[Counter]) -> None:
        """Refuse nothing."""


class CountsSettlesTwice(MemoryLedger):
    """Invariant 4 once more: what a hold had used before it was settled stays in the breakdown."""

    def __init__(self, *, clock: Callable[[], int]) -> None:
        super().__init__(clock=clock)
        self._breakdown.take_record = lambda record: None  # type: ignore[method-assign]


class CapsActuals(MemoryLedger):
    """Invariant 5: a settle is charged no more than its estimate."""

    def __init__(self, *, clock: Callable[[], int]) -> None:
        super().__init__(clock=clock)
        self._holds = _HoldsThatCap(self._counters, self._records, self._log, self._breakdown)


class _HoldsThatCap(Holds):
    def _replace(self, resolution: Resolution, record: Record, now_ms: int) -> Settlement:
        if resolution.amount_nanos is not None:
            resolution = replace(resolution, amount_nanos=min(resolution.amount_nanos, record.amount_nanos))
        return super()._replace(resolution, record, now_ms)


class ChargesTheWindowOfNow(MemoryLedger):
    """Invariant 6: a hold that ends tomorrow is charged to tomorrow, if the user made a call by then."""

    def __init__(self, *, clock: Callable[[], int]) -> None:
        super().__init__(clock=clock)
        self._drifting = _HoldsThatDrift(self._counters, self._records, self._log, self._breakdown)
        self._holds = self._drifting

    def _proceed(self, call: Call) -> Decision:
        self._drifting.latest_plans[call.admission.user_id] = call.admission.plan
        return super()._proceed(call)


class _HoldsThatDrift(Holds):
    latest_plans: dict[str, Plan]

    def __init__(self, *parts: object) -> None:
        super().__init__(*parts)  # type: ignore[arg-type]
        self.latest_plans = {}

    def _move(self, record: Record, *, spend_nanos: int = 0, held_nanos: int = 0, calls: int = 0) -> None:
        plan = self.latest_plans.get(record.user_id, record.plan)
        self._counters.move(plan, record.user_id, spend_nanos=spend_nanos, held_nanos=held_nanos, calls=calls)


class LogsNoBlocks(MemoryLedger):
    """Invariant 7: a refusal leaves no event."""

    def _add_event(self, kind: str, call: Call, decider: int | None, reason: Reason) -> None:
        if kind != "blocked":
            super()._add_event(kind, call, decider, reason)


class CountsAlertsTwice(MemoryLedger):
    """Invariant 7 again: the tallies count more than the log shows."""

    def _add_event(self, kind: str, call: Call, decider: int | None, reason: Reason) -> None:
        super()._add_event(kind, call, decider, reason)
        if kind == "warned":
            self._log.count_outcomes(call.budgets, call.amount_nanos)


BUGS: tuple[tuple[int, type[MemoryLedger]], ...] = (
    (1, AdmitsPastHolds),
    (2, SkipsTheLastCounter),
    (3, ForgetsItsAnswers),
    (4, LeaksHolds),
    (4, CreditsTheEmpty),
    (4, CountsSettlesTwice),
    (5, CapsActuals),
    (6, ChargesTheWindowOfNow),
    (7, LogsNoBlocks),
    (7, CountsAlertsTwice),
)
