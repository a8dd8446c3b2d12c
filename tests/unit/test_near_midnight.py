"""The wait of tests for the end of a day."""

import pytest

from tests.support.near_midnight import DAY_S, LEAST_LEFT_S, outlast_midnight


@pytest.mark.parametrize("left_s", [DAY_S, DAY_S - 1, LEAST_LEFT_S])
def test_a_day_that_goes_on_is_not_waited_for(left_s: float) -> None:
    """Which is nearly always so."""
    outlast_midnight(lambda: 7 * DAY_S - left_s, lambda _seconds: pytest.fail("waited"))


@pytest.mark.parametrize("left_s", [LEAST_LEFT_S - 1, 0.25])
def test_the_end_of_a_day_is_waited_for(left_s: float) -> None:
    """And no longer."""
    times = [7 * DAY_S - left_s]

    def pause(_seconds: float) -> None:
        times[0] += 0.25

    outlast_midnight(lambda: times[0], pause)
    assert [7 * DAY_S] == times
