"""Windows: days, weeks and months in zones with all their oddities."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ledger.windows import Calendar, WeekStart, Window, WindowType, is_timezone, previous_window, rfc3339, window_at

HOUR_S = 3600
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",  # half an hour off
    "Asia/Kathmandu",  # three quarters of an hour off
    "Australia/Lord_Howe",  # DST of half an hour
    "America/Sao_Paulo",  # once skipped midnight
    "Asia/Beirut",  # skips midnight
    "America/St_Johns",  # once fell back at one minute past midnight
    "Pacific/Apia",  # skipped a whole day
    "Pacific/Kiritimati",
]

moments = st.integers(min_value=0, max_value=4_102_444_800)
calendars = st.builds(Calendar, st.sampled_from(ZONES), st.sampled_from(list(WeekStart)))
kinds = st.sampled_from(list(WindowType))


def at(zone: str, text: str) -> int:
    """Return the Unix seconds of a local time."""
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp())


def local(window: Window, zone: str) -> tuple[str, str]:
    """Return the local start and end of a window."""
    start, end = (datetime.fromtimestamp(time_s, tz=ZoneInfo(zone)) for time_s in (window.start_s, window.end_s))
    return start.strftime("%Y-%m-%d %H:%M"), end.strftime("%Y-%m-%d %H:%M")


@pytest.mark.parametrize(
    ("zone", "moment", "hours"),
    [
        ("Europe/Berlin", "2026-03-29 12:00", 23),
        ("Europe/Berlin", "2026-10-25 12:00", 25),
        ("America/New_York", "2026-03-08 00:00", 23),
        ("America/New_York", "2026-11-01 23:59", 25),
        ("Australia/Lord_Howe", "2026-10-04 12:00", 23.5),
        ("Australia/Lord_Howe", "2026-04-05 12:00", 24.5),
        ("Asia/Kolkata", "2026-03-29 12:00", 24),
        ("America/Sao_Paulo", "2018-11-04 12:00", 23),
        ("America/Sao_Paulo", "2018-02-17 12:00", 25),
    ],
)
def test_day_is_as_long_as_the_clocks_make_it(zone: str, moment: str, hours: float) -> None:
    """Days of clock changes are shorter or longer than 24 hours."""
    window = window_at(WindowType.DAY, Calendar(zone), at(zone, moment))

    assert hours * HOUR_S == window.end_s - window.start_s


@pytest.mark.parametrize(
    ("zone", "moment", "start"),
    [
        ("America/Sao_Paulo", "2018-11-04 12:00", "2018-11-04 01:00"),
        ("Asia/Beirut", "2022-03-27 12:00", "2022-03-27 01:00"),
    ],
)
def test_day_without_midnight_starts_at_its_first_moment(zone: str, moment: str, start: str) -> None:
    """Where clocks skip midnight the day starts at one o'clock."""
    assert start == local(window_at(WindowType.DAY, Calendar(zone), at(zone, moment)), zone)[0]


def test_first_and_last_second_of_a_day_that_skipped_midnight_meet() -> None:
    """The second before the skip belongs to the day before."""
    zone = "America/Sao_Paulo"
    first = at(zone, "2018-11-04 01:00")

    assert ("2018-11-03 00:00", "2018-11-04 01:00") == local(window_at(WindowType.DAY, Calendar(zone), first - 1), zone)


def test_half_hour_zone_has_its_own_midnight() -> None:
    """In India the day starts at half past six in the evening, UTC."""
    window = window_at(WindowType.DAY, Calendar("Asia/Kolkata"), at("UTC", "2026-01-01 18:30"))

    assert at("UTC", "2026-01-01 18:30") == window.start_s


@pytest.mark.parametrize(
    ("week_start", "moment", "bounds"),
    [
        (WeekStart.MONDAY, "2026-01-01 12:00", ("2025-12-29 00:00", "2026-01-05 00:00")),
        (WeekStart.SUNDAY, "2026-01-01 12:00", ("2025-12-28 00:00", "2026-01-04 00:00")),
        (WeekStart.MONDAY, "2026-01-04 23:59", ("2025-12-29 00:00", "2026-01-05 00:00")),
        (WeekStart.SUNDAY, "2026-01-04 00:00", ("2026-01-04 00:00", "2026-01-11 00:00")),
        (WeekStart.MONDAY, "2026-03-29 12:00", ("2026-03-23 00:00", "2026-03-30 00:00")),
    ],
)
@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Kolkata", "America/New_York"])
def test_week_starts_on_the_day_asked_for(
    zone: str, week_start: WeekStart, moment: str, bounds: tuple[str, str]
) -> None:
    """ISO weeks start on Monday, others on Sunday, across years and clock changes."""
    window = window_at(WindowType.WEEK, Calendar(zone, week_start), at(zone, moment))

    assert bounds == local(window, zone)


@pytest.mark.parametrize(
    ("moment", "bounds"),
    [
        ("2028-02-29 23:59", ("2028-02-01 00:00", "2028-03-01 00:00")),
        ("2026-02-28 23:59", ("2026-02-01 00:00", "2026-03-01 00:00")),
        ("2026-01-31 12:00", ("2026-01-01 00:00", "2026-02-01 00:00")),
        ("2026-04-30 12:00", ("2026-04-01 00:00", "2026-05-01 00:00")),
        ("2026-12-31 23:59", ("2026-12-01 00:00", "2027-01-01 00:00")),
        ("2027-01-01 00:00", ("2027-01-01 00:00", "2027-02-01 00:00")),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kolkata", "America/New_York"])
def test_month_ends_with_its_last_day(zone: str, moment: str, bounds: tuple[str, str]) -> None:
    """Months have their own lengths, leap February and the year's end included."""
    assert bounds == local(window_at(WindowType.MONTH, Calendar(zone), at(zone, moment)), zone)


def test_skipped_day_belongs_to_no_window() -> None:
    """Samoa went from 29 to 31 December 2011, and so do its windows."""
    zone = "Pacific/Apia"
    window = window_at(WindowType.DAY, Calendar(zone), at(zone, "2011-12-29 12:00"))

    assert ("2011-12-29 00:00", "2011-12-31 00:00") == local(window, zone)


@given(kinds, calendars, moments)
@example(WindowType.DAY, Calendar("America/St_Johns"), 1_289_100_660 - 30)
@example(WindowType.DAY, Calendar("America/St_Johns"), 1_289_100_660 + 1800)
def test_window_contains_now(kind: WindowType, calendar: Calendar, now_s: int) -> None:
    """The window of a moment contains it."""
    window = window_at(kind, calendar, now_s)

    assert window.start_s <= now_s < window.end_s


@given(kinds, calendars, moments)
def test_windows_tile(kind: WindowType, calendar: Calendar, now_s: int) -> None:
    """Every moment of a window has this window, and the next one starts where it ends."""
    window = window_at(kind, calendar, now_s)

    assert window == window_at(kind, calendar, window.start_s)
    assert window == window_at(kind, calendar, window.end_s - 1)
    assert window.end_s == window_at(kind, calendar, window.end_s).start_s


@given(kinds, calendars, moments)
def test_previous_window_ends_where_this_one_starts(kind: WindowType, calendar: Calendar, now_s: int) -> None:
    """The previous window is the neighbour, of the same kind."""
    window = window_at(kind, calendar, now_s)
    previous = previous_window(window, calendar)

    assert (kind, window.start_s) == (previous.type, previous.end_s)


@given(calendars, moments)
def test_day_lies_within_its_week_and_month(calendar: Calendar, now_s: int) -> None:
    """Days never cross the bounds of weeks and months, so that day counters add up to theirs."""
    day = window_at(WindowType.DAY, calendar, now_s)

    for kind in (WindowType.WEEK, WindowType.MONTH):
        longer = window_at(kind, calendar, now_s)
        assert longer.start_s <= day.start_s
        assert day.end_s <= longer.end_s


def test_code_names_the_window() -> None:
    """The code holds type, start and end."""
    assert "day:1767225600:1767312000" == window_at(WindowType.DAY, Calendar("UTC"), 1_767_225_600).code


@pytest.mark.parametrize(
    ("name", "known"), [("Europe/Berlin", True), ("UTC", True), ("Europe/Berln", False), ("", False), ("../etc", False)]
)
def test_timezone_is_known_by_its_iana_name(name: str, known: bool) -> None:
    """Only names of the IANA database are time zones."""
    assert known is is_timezone(name)


@pytest.mark.parametrize(
    ("time_ms", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1_767_225_600_000, "2026-01-01T00:00:00Z"),
        (1_767_225_600_007, "2026-01-01T00:00:00.007Z"),
    ],
)
def test_rfc3339_shows_milliseconds_only_where_there_are_any(time_ms: int, text: str) -> None:
    """Moments go out as RFC 3339 in UTC."""
    assert text == rfc3339(time_ms)


@given(st.integers(min_value=0, max_value=253_402_300_799_999))
def test_rfc3339_reads_back(time_ms: int) -> None:
    """The text of a moment is exact to the millisecond."""
    moment = datetime.fromisoformat(rfc3339(time_ms))

    assert UTC is moment.tzinfo
    assert time_ms == (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
