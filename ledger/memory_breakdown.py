"""The breakdown of `ledger.memory_ledger`: what was used in a day, by group, model and tier."""

from collections import Counter as Tally

from ledger.breakdown import MAX_BREAKDOWN_NAMES, NOTHING, Dimension, NameKind, RowKey, Rows, Used
from ledger.decisions import HoldState
from ledger.memory_records import Record
from ledger.plans import Plan
from ledger.windows import Window


class Breakdown:
    """Rows by the workspace's day. A name keeps its place; one without a place is counted under `OTHER`."""

    def __init__(self) -> None:
        self._days: dict[Window, Rows] = {}
        self._names: Tally[tuple[Window, Dimension]] = Tally()

    def of_day(self, day: Window) -> Rows:
        """Return the rows of a day."""
        return dict(self._days.get(day, {}))

    def add_record(self, record: Record) -> None:
        """Add what a request has used and charged by now."""
        self._count(record, _used_by(record))

    def take_record(self, record: Record) -> None:
        """Take away what a request has used, before that changes."""
        self._count(record, -_used_by(record))

    def correct(self, plan: Plan, amount_nanos: int) -> None:
        """Add an operator's correction: to the tier whose totals it corrects, if it names one."""
        used = Used(cost_nanos=amount_nanos)
        tier = RowKey(Dimension.TIER, NameKind.ADJUSTED) if plan.tier is None else RowKey.of(Dimension.TIER, plan.tier)
        for key in (RowKey(Dimension.GROUP, NameKind.ADJUSTED), RowKey(Dimension.MODEL, NameKind.ADJUSTED), tier):
            self._add(plan.counters[0].window, key, used)

    def _count(self, record: Record, used: Used) -> None:
        if record.state is HoldState.RELEASED:
            return
        names = {Dimension.GROUP: record.group, Dimension.MODEL: record.model, Dimension.TIER: record.plan.tier or ""}
        for dimension, name in names.items():
            self._add(record.plan.counters[0].window, RowKey.of(dimension, name), used)

    def _add(self, day: Window, key: RowKey, used: Used) -> None:
        rows = self._days.setdefault(day, {})
        if key not in rows and key.kind is NameKind.NAMED:
            if self._names[day, key.dimension] == MAX_BREAKDOWN_NAMES:
                key = RowKey(key.dimension, NameKind.OTHER)
            else:
                self._names[day, key.dimension] += 1
        rows[key] = rows.get(key, NOTHING) + used


def _used_by(record: Record) -> Used:
    return Used(
        calls=1,
        input_tokens=record.input_tokens,
        output_tokens=record.output_tokens,
        cost_nanos=record.charged_nanos,
        unpriced_calls=1 if record.unpriced else 0,
        unpriced_nanos=record.charged_nanos if record.unpriced else 0,
    )
