"""The audit: recompute what counters must hold from the records that are kept, and compare (invariant 4).

Exact for a quiet ledger. Under load a difference counts only if two passes see it with the same numbers.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from ledger.audit_breakdown import compare_breakdown
from ledger.audit_difference import Difference, Figure, FigureKind
from ledger.audit_snapshot import CounterKey, Snapshot, TotalKey, read_snapshot
from ledger.connection import StoreTimeouts, connect
from ledger.decisions import EVENT_RETENTION_MS, RETENTION_MS
from ledger.money import usd_text
from ledger.windows import Calendar, WeekStart, Window, WindowType, window_at

MAX_PASSES: Final = 4
RETENTION_MARGIN_MS: Final = 60_000
DAYS_KEPT_MS: Final = 3 * 24 * 3600 * 1000
TIMEOUTS: Final = StoreTimeouts(connect_ms=2000, command_ms=30_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What was compared and what differs. `charged_nanos` sums the charges of all kept records."""

    counters: int
    records: int
    open_holds: int
    held_nanos: int
    charged_nanos: int
    differences: list[Difference] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        """The report as text."""
        head = (
            f"{self.records} records charge ${usd_text(self.charged_nanos)}; "
            f"{self.open_holds} open holds keep ${usd_text(self.held_nanos)}; {self.counters} counters compared"
        )
        verdict = f"{len(self.differences)} differences" if self.differences else "no difference"
        return [head, *[str(difference) for difference in self.differences], verdict]


def audit(redis_url: str, workspace: str) -> AuditReport:
    """Audit a workspace and return the report; raises `StoreUnavailable` if the store cannot be read."""
    return asyncio.run(audit_store(redis_url, workspace))


async def audit_store(redis_url: str, workspace: str) -> AuditReport:
    """Do as `audit`, on a running event loop."""
    client = connect(redis_url, TIMEOUTS)
    try:
        snapshot = await read_snapshot(client, workspace)
        differences = set(compare(snapshot))
        for _ in range(MAX_PASSES - 1):
            if not differences:
                break
            snapshot = await read_snapshot(client, workspace)
            again = set(compare(snapshot))
            if again == differences:
                break
            differences &= again
    finally:
        await client.aclose()
    return AuditReport(
        counters=len(snapshot.counters),
        records=len(snapshot.records),
        open_holds=sum(record.state == "open" for record in snapshot.records),
        held_nanos=sum(record.held_nanos for record in snapshot.records),
        charged_nanos=sum(record.charged_nanos for record in snapshot.records),
        differences=sorted(differences),
    )


def compare(snapshot: Snapshot) -> Iterator[Difference]:
    """Yield every figure that does not follow from the records."""
    yield from _compare_counters(snapshot)
    yield from _compare_totals(snapshot)
    yield from _compare_days(snapshot)
    yield from _compare_index(snapshot)
    yield from _compare_breakdown(snapshot)


def _figure(kind: FigureKind, key: CounterKey | TotalKey) -> Figure:
    return Figure(kind=kind, name=key[1], window=key[0])


def is_complete(snapshot: Snapshot, window: Window) -> bool:
    """Say whether the records of every charge in a window are still kept."""
    return window.start_s * 1000 >= snapshot.at_ms - RETENTION_MS + RETENTION_MARGIN_MS


def _is_kept(snapshot: Snapshot, window: Window) -> bool:
    """Say whether a window's counters must still be there; records of adjustments outlive those of short ones."""
    return window.end_s * 1000 > snapshot.at_ms - EVENT_RETENTION_MS + RETENTION_MARGIN_MS


def _compare_counters(snapshot: Snapshot) -> Iterator[Difference]:
    spend: dict[CounterKey, int] = defaultdict(int)
    held: dict[CounterKey, int] = defaultdict(int)
    for record in snapshot.records:
        for window in filter(partial(_is_kept, snapshot), record.windows):
            spend[window, record.user_id] += record.charged_nanos
            held[window, record.user_id] += record.held_nanos
    for key in sorted(snapshot.counters.keys() | spend.keys(), key=lambda key: (key[0].code, key[1])):
        window, user_id = key
        counter = snapshot.counters.get(key)
        name = f"user {user_id}, {window.code}"
        found_held = counter.held_nanos if counter else 0
        found_spend = counter.spend_nanos if counter else 0
        if found_held != held[key]:
            yield Difference(f"{name}, held", "exactly", held[key], found_held, _figure(FigureKind.HELD, key))
        is_exact = is_complete(snapshot, window) and not (counter and counter.seeded)
        if is_exact and found_spend != spend[key]:
            yield Difference(f"{name}, spend", "exactly", spend[key], found_spend, _figure(FigureKind.SPEND, key))
        if not is_exact and found_spend < spend[key]:
            yield Difference(f"{name}, spend", "at least", spend[key], found_spend, _figure(FigureKind.SPEND, key))


def _compare_totals(snapshot: Snapshot) -> Iterator[Difference]:
    spend: dict[TotalKey, int] = defaultdict(int)
    for record in snapshot.records:
        for key in record.tier_windows:
            spend[key] += record.charged_nanos
    for key in sorted(snapshot.totals.keys() | spend.keys(), key=lambda key: (key[0].code, key[1])):
        window, tier = key
        found = snapshot.totals.get(key, 0)
        if is_complete(snapshot, window) and found != spend[key]:
            figure = _figure(FigureKind.TOTAL, key)
            yield Difference(f"tier {tier}, {window.code}, spend", "exactly", spend[key], found, figure)


def _compare_days(snapshot: Snapshot) -> Iterator[Difference]:
    for (window, user_id), counter in sorted(snapshot.counters.items(), key=lambda item: (item[0][0].code, item[0][1])):
        if window.type is WindowType.DAY or counter.seeded or not counter.calendar:
            continue
        if window.end_s * 1000 < snapshot.at_ms - DAYS_KEPT_MS:
            continue
        days = [snapshot.counters.get((day, user_id)) for day in _days_of(window, counter.calendar)]
        if any(day is not None and day.seeded for day in days):
            continue
        total = sum(day.spend_nanos for day in days if day is not None)
        if total != counter.spend_nanos:
            name, found = f"user {user_id}, {window.code}, its days' spend", counter.spend_nanos
            # What is more than the days have may be right: one of them may have lost something.
            figure = _figure(FigureKind.DAYS, (window, user_id)) if total > found else None
            yield Difference(name, "exactly", total, found, figure)


def _compare_breakdown(snapshot: Snapshot) -> Iterator[Difference]:
    days = {record.day for record in snapshot.records} | snapshot.breakdown.keys()
    return compare_breakdown(snapshot, frozenset(day for day in days if is_complete(snapshot, day)))


def _days_of(window: Window, calendar_text: str) -> list[Window]:
    timezone, _, week_start = calendar_text.partition("|")
    calendar = Calendar(timezone, WeekStart(week_start))
    days, moment_s = [], window.start_s
    while moment_s < window.end_s:
        day = window_at(WindowType.DAY, calendar, moment_s)
        days.append(day)
        moment_s = day.end_s
    return days


def _compare_index(snapshot: Snapshot) -> Iterator[Difference]:
    """Every open hold stands in its user's index, or it would never expire."""
    for record in snapshot.records:
        if record.state == "open" and record.key not in snapshot.indexed_holds:
            name = f"user {record.user_id}, request {record.request_id}, missing in the index of open holds"
            figure = Figure(kind=FigureKind.HOLD, name=record.user_id, record=record.key)
            yield Difference(name, "held", record.held_nanos, 0, figure)
