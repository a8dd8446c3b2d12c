"""Overrides as CSV: what spreadsheets make of them and what comes back, with every fault under its line.

An export can be edited and imported again: columns that only tell are read over, and the mark that keeps a spreadsheet
from taking a user id for a formula is taken off.
"""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from controlplane.csv_text import read_cell
from ledger.errors import InvalidInput
from ledger.rule_parsing import MAX_RULES
from ledger.sections import hint

UNLIMITED: Final = "unlimited"
COLUMNS: Final = (
    *("user_id", "limit_usd", "window", "action", "alert_thresholds_pct"),
    *("status", "expires_at", "note", "timezone"),
)
REQUIRED: Final = ("user_id", "limit_usd")
TOLD: Final = ("state", "spend_usd", "held_usd", "remaining_usd", "percent", "calls", "window_start", "resets_at")
STAMPS: Final = ("updated_at", "updated_by")
MAX_FAULTS: Final = 1000
MAX_CELL_LENGTH: Final = 4096

_SEPARATORS: Final = re.compile(r"[;, ]+")
_THRESHOLD: Final = re.compile(r"[0-9]{1,4}%?")

Document = dict[str, object]


@dataclass(frozen=True, slots=True)
class CsvFault:
    """What is wrong in a line (the header is line 1); `field` is the column, empty for the line as a whole."""

    line: int
    field: str
    message: str


@dataclass(slots=True)
class CsvOverrides:
    """The overrides of a CSV text, the line of each, and the faults of reading it."""

    documents: list[Document] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    faults: list[CsvFault] = field(default_factory=list)

    def place(self, path: str, message: str) -> CsvFault:
        """Return a fault of the rules' parser, whose path is ``rules[<index>].<field>``, as one of a line."""
        match = re.fullmatch(r"rules\[(\d+)\]\.?(.*)", path)
        if match is None:
            return CsvFault(0, "", f"{path}: {message}")
        named = "user_id" if match[2] == "key" else match[2]
        shown = re.sub(r"rules\[(\d+)\]", lambda other: f"line {self.lines[int(other[1])]}", message)
        return CsvFault(self.lines[int(match[1])], named, shown.replace("kind, key and window", "user_id and window"))


def read_overrides(body: bytes) -> CsvOverrides:
    """Read CSV; blocking. Empty cells are left out: they keep what an override has, or the default."""
    found = CsvOverrides()
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found.faults.append(CsvFault(0, "", f"the text is not UTF-8: {error}"))
        return found
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = _header(next(reader, []), found)
        if not found.faults:
            _read_rows(reader, columns, found)
    except csv.Error as error:
        found.faults.append(CsvFault(reader.line_num, "", f"is no CSV: {error}"))
    return found


def csv_header() -> tuple[str, ...]:
    """Return the columns of an export."""
    return (*COLUMNS, *TOLD, *STAMPS)


def csv_row(row: Mapping[str, Any], *, key_column: str = "user_id") -> list[object]:
    """Return the cells of a rule's row; what the rule inherits is left empty, so that it goes on inheriting."""
    cells = {
        **row,
        key_column: row["key"],
        "limit_usd": UNLIMITED if row["limit_usd"] is None else row["limit_usd"],
        "alert_thresholds_pct": ";".join(str(threshold) for threshold in row["alert_thresholds_pct"]) or "none",
        "timezone": None if "timezone" in row["inherited"] else row["timezone"],
    }
    return [cells.get(name) for name in (key_column, *csv_header()[1:])]


def _header(cells: Sequence[str], found: CsvOverrides) -> list[str]:
    columns = [cell.strip().lower() for cell in cells]
    known = frozenset(csv_header())
    for name in columns:
        if name not in known:
            found.faults.append(CsvFault(1, name[:40], f"unknown column{hint(name, known)}"))
        elif columns.count(name) > 1:
            found.faults.append(CsvFault(1, name, "stands twice in the header"))
    found.faults += [CsvFault(1, name, "this column is missing") for name in REQUIRED if name not in columns]
    return columns


def _read_rows(reader: Any, columns: Sequence[str], found: CsvOverrides) -> None:
    behind = reader.line_num
    for cells in reader:
        line, behind = behind + 1, reader.line_num  # A cell may have lines of its own.
        if not any(cells):
            continue
        if len(cells) != len(columns):
            found.faults.append(CsvFault(line, "", f"has {len(cells)} cells where the header has {len(columns)}"))
        elif len(found.documents) >= MAX_RULES:
            found.faults.append(CsvFault(line, "", f"is beyond the {MAX_RULES} rules there may be"))
        else:
            _read_row(dict(zip(columns, cells, strict=True)), line, found)
        if len(found.faults) >= MAX_FAULTS:
            found.faults.append(CsvFault(line, "", "too many faults; the rest was not read"))
            return


def _read_row(cells: Mapping[str, str], line: int, found: CsvOverrides) -> None:
    document: Document = {}
    for name in COLUMNS:
        text = cells.get(name, "")
        try:
            value = _value(name, read_cell(text) if name in {"user_id", "note"} else text.strip())
        except InvalidInput as error:
            found.faults.append(CsvFault(line, name, error.message))
            continue
        if value is not None or _is_unlimited(name, text):
            document["key" if name == "user_id" else name] = value
    missing = [name for name in REQUIRED if not cells[name].strip()]
    found.faults += [CsvFault(line, name, "is required; `unlimited` is no limit") for name in missing]
    if not missing:
        found.documents.append(document)
        found.lines.append(line)


def _value(name: str, text: str) -> object:
    if len(text) > MAX_CELL_LENGTH:
        raise InvalidInput(f"has more than {MAX_CELL_LENGTH} characters")
    if not text or _is_unlimited(name, text):
        return None
    return _thresholds(text) if name == "alert_thresholds_pct" else text


def _is_unlimited(name: str, text: str) -> bool:
    return name == "limit_usd" and text.strip().lower() == UNLIMITED


def _thresholds(text: str) -> list[int]:
    if text.lower() == "none":
        return []
    parts = [part for part in _SEPARATORS.split(text) if part]
    if not all(_THRESHOLD.fullmatch(part) for part in parts):
        raise InvalidInput("must be whole percentages with ; between them, or `none`")
    return [int(part.rstrip("%")) for part in parts]


def placed_faults(overrides: CsvOverrides, faults: Iterable[tuple[str, str]]) -> list[CsvFault]:
    """Return the faults of the rules' parser under their lines."""
    return [overrides.place(path, message) for path, message in faults]
