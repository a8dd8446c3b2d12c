"""What was spent by group, model or tier: the rows of a page, and all days as CSV."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from controlplane.csv_text import AmountCell, csv_text
from ledger.breakdown import NOTHING, Dimension, NameKind, RowKey, Rows, Used
from ledger.breakdown_reader import BreakdownReader
from ledger.windows import Calendar, Window

SORTS: Final = ("cost", "calls", "tokens", "average", "name")
COLUMNS: Final = (
    *("day", "by", "name", "kind", "calls", "input_tokens", "output_tokens"),
    *("cost_usd", "average_cost_usd", "unpriced_calls", "unpriced_usd"),
)
SHOWN_NAMES: Final = {
    NameKind.NONE: "(none)",
    NameKind.OTHER: "(other)",
    NameKind.ADJUSTED: "(adjusted)",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One name, or what stands for several, over all days that were asked for."""

    key: RowKey
    used: Used

    @property
    def name(self) -> str:
        """The name as it is shown."""
        return SHOWN_NAMES.get(self.key.kind, self.key.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowFilter:
    """Which rows to show, and in which order; `text` is looked for in the name, in any case."""

    text: str = ""
    unpriced_only: bool = False
    sort: str = SORTS[0]
    ascending: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Breakdown:
    """The rows that a filter wants, in order; `total` is of all rows of the dimension."""

    rows: tuple[Row, ...]
    total: Used
    days: tuple[Window, ...]


async def read_breakdown(
    reader: BreakdownReader, dimension: Dimension, days: Sequence[Window], wanted: RowFilter
) -> Breakdown:
    """Return what was used in some days by one dimension. Raises `StoreUnavailable`."""
    sums: Rows = {}
    async for _, rows in reader.days(days):
        for key, used in _of_dimension(rows, dimension):
            sums[key] = sums.get(key, NOTHING) + used
    shown = [row for row in (Row(*item) for item in sums.items()) if _is_wanted(row, wanted)]
    shown.sort(key=lambda row: row.name)
    if wanted.sort != "name" or not wanted.ascending:
        shown.sort(key=lambda row: _place(row, wanted.sort), reverse=not wanted.ascending)
    return Breakdown(rows=tuple(shown), total=sum(sums.values(), NOTHING), days=tuple(days))


async def csv_chunks(
    reader: BreakdownReader, dimension: Dimension, days: Sequence[Window], calendar: Calendar
) -> AsyncGenerator[str, None]:
    """Yield a row for each day and name as CSV, the oldest day first, the head before all."""
    yield csv_text([COLUMNS])
    zone = ZoneInfo(calendar.timezone)
    async for day, rows in reader.days(days):
        date = datetime.fromtimestamp(day.start_s, zone).date().isoformat()
        found = sorted((Row(*item) for item in _of_dimension(rows, dimension)), key=lambda row: row.name)
        yield csv_text([_cells(date, row) for row in found])


def average_nanos(used: Used) -> int | None:
    """Return the cost of a call, rounded to a whole nano-USD; None without any call."""
    return None if used.calls <= 0 else (2 * used.cost_nanos + used.calls) // (2 * used.calls)


def _of_dimension(rows: Rows, dimension: Dimension) -> list[tuple[RowKey, Used]]:
    """List what is not nothing: a call that was taken back, or moved to another model, leaves an empty row."""
    return [(key, used) for key, used in rows.items() if key.dimension is dimension and used != NOTHING]


def _is_wanted(row: Row, wanted: RowFilter) -> bool:
    if wanted.unpriced_only and not row.used.unpriced_calls:
        return False
    return wanted.text.casefold() in row.name.casefold()


def _place(row: Row, sort: str) -> tuple[int, str]:
    used = row.used
    numbers = {
        "cost": used.cost_nanos,
        "calls": used.calls,
        "tokens": used.input_tokens + used.output_tokens,
        "average": average_nanos(used) or 0,
    }
    return (numbers.get(sort, 0), row.name if sort == "name" else "")


def _cells(date: str, row: Row) -> Sequence[object]:
    used, average = row.used, average_nanos(row.used)
    return (
        date,
        str(row.key.dimension),
        row.name,
        str(row.key.kind),
        used.calls,
        used.input_tokens,
        used.output_tokens,
        AmountCell(used.cost_nanos),
        None if average is None else AmountCell(average),
        used.unpriced_calls,
        AmountCell(used.unpriced_nanos),
    )
