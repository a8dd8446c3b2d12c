"""The audit of the breakdown: it follows from the records, and its three dimensions have one sum."""

from collections import defaultdict
from collections.abc import Iterator

from ledger.audit_difference import Difference
from ledger.audit_snapshot import KeptRecord, Snapshot
from ledger.breakdown import Dimension, NameKind, RowKey, Rows, Used
from ledger.windows import Window


def compare_breakdown(snapshot: Snapshot, complete_days: frozenset[Window]) -> Iterator[Difference]:
    """Yield what differs. `complete_days` are those of which all records are kept; of others only the sums are told."""
    expected: dict[Window, dict[RowKey, int]] = {day: defaultdict(int) for day in complete_days}
    for record in snapshot.records:
        for key in _row_keys(record):
            if record.day in complete_days:
                expected[record.day][key] += record.charged_nanos
    for day in sorted(snapshot.breakdown.keys() | expected.keys(), key=lambda day: day.code):
        rows = snapshot.breakdown.get(day, {})
        yield from _compare_sums(day, rows)
        if day in expected:
            yield from _compare_rows(day, rows, expected[day])
        else:
            yield from _compare_tiers(snapshot, day, rows)


def _row_keys(record: KeptRecord) -> list[RowKey]:
    """Return where a record's charge stands: a correction in rows of its own, but for the tier that it names."""
    names = {Dimension.GROUP: record.group, Dimension.MODEL: record.model, Dimension.TIER: record.tier}
    if record.state == "released":
        return []
    return [
        RowKey(dimension, NameKind.ADJUSTED) if record.is_adjustment and not name else RowKey.of(dimension, name)
        for dimension, name in names.items()
    ]


def _cost(rows: Rows, dimension: Dimension) -> int:
    return sum(used.cost_nanos for key, used in rows.items() if key.dimension is dimension)


def _compare_sums(day: Window, rows: Rows) -> Iterator[Difference]:
    """Every call stands once in each dimension."""
    by_group = _cost(rows, Dimension.GROUP)
    for dimension in (Dimension.MODEL, Dimension.TIER):
        if _cost(rows, dimension) != by_group:
            yield Difference(f"{day.code}, spend by {dimension}", "exactly", by_group, _cost(rows, dimension))


def _compare_rows(day: Window, rows: Rows, expected: dict[RowKey, int]) -> Iterator[Difference]:
    """Names that found no place are counted together, and are compared so."""
    for dimension in Dimension:
        other = RowKey(dimension, NameKind.OTHER)
        wanted: dict[RowKey, int] = defaultdict(int)
        for key, nanos in expected.items():
            if key.dimension is dimension:
                wanted[key if key in rows or other not in rows else other] += nanos
        keys = wanted.keys() | {key for key in rows if key.dimension is dimension}
        for key in sorted(keys, key=lambda key: (key.kind, key.name)):
            found = rows.get(key, Used()).cost_nanos
            if found != wanted[key]:
                name = key.name or f"({key.kind})"
                yield Difference(f"{dimension} {name}, {day.code}, spend", "exactly", wanted[key], found)


def _compare_tiers(snapshot: Snapshot, day: Window, rows: Rows) -> Iterator[Difference]:
    """A tier's total has every charge that its row has; more only where a rule has a zone that was the workspace's.

    Of a day whose records are all kept both are compared with those.
    """
    for key, used in rows.items():
        if key.dimension is Dimension.TIER and key.kind is NameKind.NAMED:
            total = snapshot.totals.get((day, key.name), 0)
            if total < used.cost_nanos:
                yield Difference(f"tier {key.name}, {day.code}, spend in all", "at least", used.cost_nanos, total)
