"""CSV that spreadsheets take for text."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.csv_text import FORMULA_STARTS, csv_text, read_cell, safe_cell
from tests.support.hostile_names import HOSTILE_NAMES


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("", ""),
        ("user-42", "user-42"),
        ("=1+1", "'=1+1"),
        ("+49", "'+49"),
        ("-1", "'-1"),
        ("@x", "'@x"),
        ("\uff1d1", "'\uff1d1"),
        ("\t=1", "'\t=1"),
        ("\r", "'\r"),
        (" =1", "' =1"),
        ("\u200e\u202e=1", "'\u200e\u202e=1"),
        ("'=1", "''=1"),
        ("'", "''"),
        ("a=1", "a=1"),
        (" a", " a"),
    ],
)
def test_a_formula_stands_behind_a_mark(text: str, cell: str) -> None:
    """As seen: blanks and invisible marks in front do not hide it."""
    assert (cell, text) == (safe_cell(text), read_cell(cell))


def test_a_cell_of_another_program_is_read_as_it_is() -> None:
    """A quote mark that nobody had to add belongs to the name."""
    assert ["'abc", "=1+1", "o'neill"] == [read_cell(text) for text in ("'abc", "=1+1", "o'neill")]


@given(st.text())
def test_every_text_reads_back(text: str) -> None:
    """And no cell begins with what a spreadsheet runs."""
    cell = safe_cell(text)

    assert text == read_cell(cell)
    assert not cell or cell[0] not in FORMULA_STARTS


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=2), min_size=1))
def test_rows_read_back(rows: list[list[str]]) -> None:
    """Whatever separators, quotes and line ends are in them."""
    found = list(csv.reader(io.StringIO(csv_text(rows), newline="")))

    assert rows == [[read_cell(cell) for cell in row] for row in found]


def test_numbers_stay_numbers_and_none_is_empty() -> None:
    """Every cell is quoted, every line ends as the standard says."""
    assert '"-5","","a ""b"""\r\n' == csv_text([[-5, None, 'a "b"']])


def test_the_hostile_names_are_what_the_edge_lets_in() -> None:
    """Printable, at most 256 characters, and no two the same."""
    assert all(name.isprintable() and len(name) <= 256 for name in HOSTILE_NAMES)
    assert len(set(HOSTILE_NAMES)) == len(HOSTILE_NAMES)
