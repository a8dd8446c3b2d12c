"""Positions and cursors of the enforcement log as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import InvalidInput
from ledger.events import BEFORE_ALL, Position, StreamCursor

MAX_MS = 36**8
_ids = st.one_of(st.just(BEFORE_ALL), st.tuples(st.integers(1, MAX_MS), st.integers(0, 10**6)))


@given(st.lists(_ids, min_size=1, max_size=8))
def test_a_cursor_reads_back(ids: list[tuple[int, int]]) -> None:
    """Every cursor that is given out is understood again."""
    cursor = StreamCursor(tuple(ids))

    assert cursor == StreamCursor.parse(cursor.text, partitions=len(ids), field="after")


@given(st.integers(0, MAX_MS), st.integers(0, 10**6), st.integers(0, 4095))
def test_a_position_reads_back(ms: int, number: int, partition: int) -> None:
    """The id of an event is the cursor of the page behind it."""
    position = Position(ms, number, partition)

    assert position == Position.parse(position.text, field="cursor")


def test_a_cursor_of_very_many_partitions_fits_in_a_header() -> None:
    """512 partitions, each a month behind the newest: less than 8 KB."""
    month_ms = 31 * 24 * 3600 * 1000
    cursor = StreamCursor(((1_800_000_000_000, 0), *[(1_800_000_000_000 - month_ms, 9)] * 511))

    assert len(cursor.text) < 8000


@pytest.mark.parametrize(
    "text",
    [
        None,
        7,
        "",
        ".",
        "1",
        "1.2",
        "1.0.0.0",
        "1.0.-1",
        "1.0.5",
        "A.0.0",
        "1.0.0\r\nX: y",
        "1.0.\u0660",
        "1." + "9" * 5000,
        "1.0.0 ",
        "1.0.1-",
        "zzzzzzzzzzzzz.0.0",
        "1.0.0-zzzzzzzzzzzzz",
    ],
)
def test_a_cursor_of_another_log_is_refused(text: object) -> None:
    """Whatever a client sends, it is a cursor of two partitions or an error that names the field."""
    with pytest.raises(InvalidInput) as refused:
        StreamCursor.parse(text, partitions=2, field="after")

    assert "after" == refused.value.field


@pytest.mark.parametrize(
    "text", [None, 1, "", "1", "1-2", "1-2-3-4", "a-b-c", "-1-0-0", "1-0-0\n", "9" * 40 + "-0-0", "9" * 20 + "-0-0"]
)
def test_a_position_of_another_log_is_refused(text: object) -> None:
    """Exact shape or an error that names the field."""
    with pytest.raises(InvalidInput) as refused:
        Position.parse(text, field="cursor")

    assert "cursor" == refused.value.field
