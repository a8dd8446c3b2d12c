"""Price books in words: what one has, what a price says, what a build left out."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from cli.price_source import SourceReport
from ledger.price_parsing import dump_price
from ledger.prices import ModelPrice, PriceBook
from ledger.windows import rfc3339

MAX_NAMED: Final = 8


def summary_lines(book: PriceBook) -> list[str]:
    """Return what a book has."""
    built = "" if book.built_ms is None else f", built for {rfc3339(book.built_ms)[:10]}"
    return [
        f"version: {book.version or 'none'}{built}",
        f"{len(book.models)} models, {len(book.overrides)} overrides, {len(book.providers)} providers",
    ]


def price_lines(price: ModelPrice) -> list[str]:
    """Return a price field by field, as it would stand in a file."""
    return [line for name, value in dump_price(price).items() for line in _lines(name, value)]


def report_lines(report: SourceReport) -> Iterator[str]:
    """Yield what was left out and why; callers of such a model are unpriced, until an override says what it costs."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for name, reason in report.left_out.items():
        by_reason[reason].append(name)
    for reason, names in by_reason.items():
        more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
        yield f"left out, {reason}: {', '.join(names[:MAX_NAMED])}{more}"
    for rate, count in report.ignored_rates.items():
        yield f"{rate} of {count} prices is left out: no usage tells it"


def _lines(name: str, value: object) -> Iterator[str]:
    if not isinstance(value, list):
        yield f"{name}: {'none' if value is None else value}"
        return
    for entry in value:
        shown = ", ".join(f"{key} {part}" for key, part in entry.items()) if isinstance(entry, dict) else entry
        yield f"{name}: {shown}"
