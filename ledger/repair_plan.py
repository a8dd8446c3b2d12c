"""What a repair of a workspace would do: every figure that the records tell, tried on what was read.

Figures that are too low are raised, to what the records and then the days say. Lowered is only what must be what the
records say, and nothing at all where calls are missing among the records: then a counter may be right, a record lost.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from ledger.audit import compare, is_complete
from ledger.audit_difference import Difference, Figure, FigureKind
from ledger.audit_snapshot import KeptCounter, KeptRecord, Snapshot
from ledger.breakdown import Dimension
from ledger.keys import partition_of
from ledger.money import usd_text
from ledger.windows import Window

MAX_ROUNDS: Final = 3
"""What the records tell, then what the days tell that are right by then."""
MAX_EXACT: Final = 2**53 - 1
"""A sum beyond it is no exact number in Lua; only an operator corrects it."""


class CorrectionKind(StrEnum):
    """What is corrected, as ``lua/repair.lua`` names it."""

    COUNTER = "counter"
    TOTAL = "total"
    HOLD = "hold"


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """What was found in a partition, and what is added to it; nano-USD. `name` is a user or a tier.

    `request_id` is that of an open hold. `calendar` is that of a counter which must be made, empty if nothing tells it.
    """

    partition: int
    kind: CorrectionKind
    name: str
    window: Window | None = None
    calendar: str = ""
    found_spend_nanos: int = 0
    found_held_nanos: int = 0
    spend_nanos: int = 0
    held_nanos: int = 0
    calls: int = 0
    request_id: str = ""

    @property
    def lines(self) -> Iterator[str]:
        """Yield what it does, in words."""
        if self.kind is CorrectionKind.HOLD:
            yield f"user {self.name}, request {self.request_id}: back into the index of open holds"
            return
        who = (
            f"{'tier' if self.kind is CorrectionKind.TOTAL else 'user'} {self.name}, {self.window and self.window.code}"
        )
        for what, found, change in (
            ("spend", self.found_spend_nanos, self.spend_nanos),
            ("held", self.found_held_nanos, self.held_nanos),
        ):
            if change:
                yield f"{who}, {what}: ${usd_text(found)} becomes ${usd_text(found + change)}"


@dataclass(frozen=True, slots=True)
class RepairPlan:
    """What would be corrected, and what is left because nothing tells what is right."""

    corrections: tuple[Correction, ...]
    left: tuple[Difference, ...]


def plan_repair(snapshot: Snapshot, partitions: int) -> RepairPlan:
    """Return what puts a workspace of so many partitions right."""
    target = replace(
        snapshot,
        counters=dict(snapshot.counters),
        totals=dict(snapshot.totals),
        indexed_holds=set(snapshot.indexed_holds),
    )
    may_lower = not misses_records(snapshot)
    for _ in range(MAX_ROUNDS):
        steps = [step for each in compare(target) if (step := _step_of(each, may_lower=may_lower))]
        told_by_records = [step for step in steps if step[0].kind is not FigureKind.DAYS]
        for figure, nanos in told_by_records or steps:
            _put_right(target, figure, nanos)
    corrections = (
        *_of_counters(snapshot, target, partitions),
        *_of_totals(snapshot, target),
        *_of_holds(snapshot, target, partitions),
    )
    return RepairPlan(corrections, tuple(sorted(set(compare(target)))))


def misses_records(snapshot: Snapshot) -> bool:
    """Say whether a day's breakdown knows of more calls or money than the records, which should all be kept."""
    for day, rows in snapshot.breakdown.items():
        if is_complete(snapshot, day):
            used = [each for key, each in rows.items() if key.dimension is Dimension.GROUP]
            records = [record for record in snapshot.records if record.day == day]
            has_more_calls = sum(each.calls for each in used) > sum(map(_is_call, records))
            if has_more_calls or sum(each.cost_nanos for each in used) > sum(each.charged_nanos for each in records):
                return True
    return False


def _is_call(record: KeptRecord) -> bool:
    return record.state != "released" and not record.is_adjustment


def _step_of(difference: Difference, *, may_lower: bool) -> tuple[Figure, int] | None:
    """Return what is set to how much; None for what must stay. Days are trusted only if no record is missing."""
    figure, expected, found = difference.figure, difference.expected_nanos, difference.found_nanos
    if figure is None or max(abs(expected), abs(found)) > MAX_EXACT:
        return None
    needs_all_records = figure.kind is FigureKind.DAYS or (figure.kind is not FigureKind.HOLD and expected < found)
    return None if needs_all_records and not may_lower else (figure, expected)


def _put_right(target: Snapshot, figure: Figure, nanos: int) -> None:
    if figure.window is None:
        target.indexed_holds.add(figure.record)
        return
    key = (figure.window, figure.name)
    if figure.kind is FigureKind.TOTAL:
        target.totals[key] = nanos
        return
    counter = target.counters.get(key) or KeptCounter(0, 0, seeded=False, calendar=_calendar_of(target, figure.window))
    is_held = figure.kind is FigureKind.HELD
    target.counters[key] = replace(counter, held_nanos=nanos) if is_held else replace(counter, spend_nanos=nanos)


def _calendar_of(snapshot: Snapshot, window: Window) -> str:
    """Return the calendar that other counters of the same window tell."""
    return next((each.calendar for key, each in snapshot.counters.items() if key[0] == window and each.calendar), "")


def _of_counters(found: Snapshot, target: Snapshot, partitions: int) -> Iterator[Correction]:
    """A counter that is made counts the calls that the records tell of."""
    for key, wanted in sorted(target.counters.items(), key=lambda item: (item[0][1], item[0][0].code)):
        window, user_id = key
        before = found.counters.get(key) or replace(wanted, spend_nanos=0, held_nanos=0)
        if key in found.counters and before == wanted:
            continue
        own = [each for each in found.records if each.user_id == user_id and window in each.windows]
        yield Correction(
            partition=partition_of(user_id, partitions),
            kind=CorrectionKind.COUNTER,
            name=user_id,
            window=window,
            calendar=wanted.calendar,
            found_spend_nanos=before.spend_nanos,
            found_held_nanos=before.held_nanos,
            spend_nanos=wanted.spend_nanos - before.spend_nanos,
            held_nanos=wanted.held_nanos - before.held_nanos,
            calls=0 if key in found.counters else sum(map(_is_call, own)),
        )


def _of_totals(found: Snapshot, target: Snapshot) -> Iterator[Correction]:
    """The largest share of a total is corrected: the users of another one may have left it, or be new there."""
    for key, nanos in sorted(target.totals.items(), key=lambda item: (item[0][1], item[0][0].code)):
        if found.totals.get(key, 0) == nanos:
            continue
        window, tier = key
        shares = {share[2]: spend for share, spend in found.shares.items() if share[:2] == key}
        partition = max(shares, key=lambda number: shares[number], default=0)
        own = [each for each in found.records if key in each.tier_windows]
        yield Correction(
            partition=partition,
            kind=CorrectionKind.TOTAL,
            name=tier,
            window=window,
            found_spend_nanos=shares.get(partition, 0),
            spend_nanos=nanos - found.totals.get(key, 0),
            calls=0 if shares else sum(map(_is_call, own)),
        )


def _of_holds(found: Snapshot, target: Snapshot, partitions: int) -> Iterator[Correction]:
    missing = target.indexed_holds - found.indexed_holds
    for record in sorted(found.records, key=lambda each: (each.user_id, each.request_id)):
        if record.key in missing:
            yield Correction(
                partition=partition_of(record.user_id, partitions),
                kind=CorrectionKind.HOLD,
                name=record.user_id,
                request_id=record.request_id,
            )
