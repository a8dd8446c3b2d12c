"""The enforcement log as rows: what an event says, and the whole log of a filter as bounded CSV."""

from collections.abc import AsyncGenerator, Sequence
from typing import Final

from controlplane.csv_text import AmountCell, csv_text
from ledger.event_filter import EventFilter
from ledger.event_log import EventLog
from ledger.events import Event, Position
from ledger.windows import rfc3339

MAX_CSV_ROWS: Final = 100_000
MAX_CSV_SCANNED: Final = 2_000_000
PAGE_ROWS: Final = 1000

COLUMNS: Final = (
    *("time", "user_id", "action", "spend_usd", "held_usd", "limit_usd", "window", "window_start", "window_end"),
    *("amount_usd", "tier", "reason", "group", "model", "price_version", "rule_id", "request_id", "event_id"),
)


async def csv_chunks(log: EventLog, event_filter: EventFilter) -> AsyncGenerator[str, None]:
    """Yield the wanted events as CSV, newest first, the head first; at most 100,000 rows of 2,000,000 entries.

    A chunk may be empty where a long part of the log has nothing that is wanted.
    """
    yield csv_text([COLUMNS])
    before: Position | None = None
    rows_left, scans_left = MAX_CSV_ROWS, MAX_CSV_SCANNED // PAGE_ROWS
    while rows_left > 0 and scans_left > 0:
        page = await log.page(event_filter, before=before, limit=min(PAGE_ROWS, rows_left), max_scanned=PAGE_ROWS)
        yield csv_text([_row(event) for event in page.events])
        rows_left -= len(page.events)
        scans_left -= 1
        if page.next_before is None:
            return
        before = page.next_before


def _row(event: Event) -> Sequence[object]:
    window = event.window
    return (
        rfc3339(event.at_ms),
        event.user_id,
        event.type,
        _usd(event.spend_nanos),
        _usd(event.held_nanos),
        _usd(event.limit_nanos),
        None if window is None else str(window.type),
        None if window is None else rfc3339(window.start_s * 1000),
        None if window is None else rfc3339(window.end_s * 1000),
        _usd(event.amount_nanos),
        event.tier,
        event.reason,
        event.group,
        event.model,
        event.price_version,
        event.rule_id,
        event.request_id,
        event.position.text,
    )


def _usd(nanos: int | None) -> AmountCell | None:
    return None if nanos is None else AmountCell(nanos)
