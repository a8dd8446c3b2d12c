"""CSV as RFC 4180 has it, every cell quoted, and no cell that a spreadsheet takes for a formula."""

import csv
import io
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final

from ledger.money import usd_text

FORMULA_STARTS: Final = frozenset("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""What spreadsheets take for the start of a formula, full-width forms included."""

MARK: Final = "'"
"""Spreadsheets show what follows it as text."""


class AmountCell:
    """An amount in a cell: its minus is no formula."""

    def __init__(self, nanos: int) -> None:
        self._nanos = nanos

    def __str__(self) -> str:
        return usd_text(self._nanos)


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Return rows as CSV. Text is made safe by `safe_cell`; numbers stay numbers, None is an empty cell."""
    lines = io.StringIO()
    writer = csv.writer(lines, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerows([[_cell(value) for value in row] for row in rows])
    return lines.getvalue()


def safe_cell(text: str) -> str:
    """Return text as a cell: behind a quote mark where it would be a formula, or begins with such a mark."""
    return f"{MARK}{text}" if _needs_mark(text) else text


def read_cell(text: str) -> str:
    """Return the text of a cell that `safe_cell` made; other cells are what they are."""
    return text[1:] if text.startswith(MARK) and _needs_mark(text[1:]) else text


def _needs_mark(text: str) -> bool:
    """Look at the first character that is seen: programs skip blanks and invisible marks in front of it."""
    if text.startswith(MARK):
        return True
    for character in text:
        if character in FORMULA_STARTS:
            return True
        if not character.isspace() and unicodedata.category(character) not in {"Cf", "Cc"}:
            return False
    return False


def _cell(value: object) -> object:
    if value is None:
        return ""
    return safe_cell(value) if isinstance(value, str) else value
