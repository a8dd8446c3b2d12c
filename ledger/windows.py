"""Calendar windows: (window type, time zone, week start, now) to the window's start and end in Unix seconds.

Days start at local midnight, weeks at midnight of the week's first day, months at midnight of the first. Where a zone
skips midnight (some zones start DST then), the window starts at the first moment of that day.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

SECONDS_PER_DAY = 86_400


class WindowType(StrEnum):
    """The kinds of calendar windows."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class WeekStart(StrEnum):
    """The first day of a week."""

    MONDAY = "monday"
    SUNDAY = "sunday"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One calendar window: `start_s` is in it, `end_s` is not; both Unix seconds."""

    type: WindowType
    start_s: int
    end_s: int

    @property
    def code(self) -> str:
        """The text that names this window in Redis keys and records, ``day:1767225600:1767312000``."""
        return f"{self.type}:{self.start_s}:{self.end_s}"


@dataclass(frozen=True, slots=True)
class Calendar:
    """Where and how days are counted: an IANA zone and the first day of a week."""

    timezone: str
    week_start: WeekStart = WeekStart.MONDAY


def is_timezone(name: str) -> bool:
    """Say whether `name` is an IANA time zone that this machine knows."""
    return name in _timezones()


@lru_cache(maxsize=1)
def _timezones() -> frozenset[str]:
    """Read the names once: listing them opens hundreds of files."""
    return frozenset(available_timezones())


def window_at(kind: WindowType, calendar: Calendar, now_s: float) -> Window:
    """Return the window of `kind` that contains the Unix time `now_s`.

    Where clocks once fell back across midnight a local date happens twice; the window's bounds decide, so that the
    windows of a calendar always tile.
    """
    today = _local_date(calendar.timezone, now_s)
    window = _window_of_day(kind, calendar, today)
    if now_s >= window.end_s:
        return _window_of_day(kind, calendar, today + timedelta(days=1))
    if now_s < window.start_s:
        return _window_of_day(kind, calendar, today - timedelta(days=1))
    return window


def previous_window(window: Window, calendar: Calendar) -> Window:
    """Return the window of the same kind that ended when `window` began."""
    return window_at(window.type, calendar, window.start_s - 1)


def _local_date(timezone: str, now_s: float) -> date:
    return datetime.fromtimestamp(now_s, tz=ZoneInfo(timezone)).date()


@lru_cache(maxsize=8192)
def _window_of_day(kind: WindowType, calendar: Calendar, day: date) -> Window:
    first = _first_day(kind, calendar.week_start, day)
    if kind is WindowType.DAY:
        after = first + timedelta(days=1)
    elif kind is WindowType.WEEK:
        after = first + timedelta(days=7)
    else:
        after = (first + timedelta(days=32)).replace(day=1)
    return Window(
        type=kind,
        start_s=_start_of_day(calendar.timezone, first),
        end_s=_start_of_day(calendar.timezone, after),
    )


def _first_day(kind: WindowType, week_start: WeekStart, day: date) -> date:
    if kind is WindowType.DAY:
        return day
    if kind is WindowType.MONTH:
        return day.replace(day=1)
    days_into_week = day.weekday() if week_start is WeekStart.MONDAY else (day.weekday() + 1) % 7
    return day - timedelta(days=days_into_week)


def _start_of_day(timezone: str, day: date) -> int:
    """Return the first Unix second whose local date is `day` or later (a zone may skip midnight, or a whole day)."""
    zone = ZoneInfo(timezone)
    guess = int(datetime.combine(day, time.min, tzinfo=zone).timestamp())
    before, after = guess - SECONDS_PER_DAY, guess + SECONDS_PER_DAY
    while after - before > 1:
        middle = (before + after) // 2
        if datetime.fromtimestamp(middle, tz=zone).date() >= day:
            after = middle
        else:
            before = middle
    return after


def rfc3339(time_ms: int) -> str:
    """Return a Unix time in milliseconds as RFC 3339 UTC, with milliseconds only where they are not zero."""
    moment = datetime.fromtimestamp(time_ms // 1000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S")
    rest = time_ms % 1000
    return f"{moment}.{rest:03d}Z" if rest else f"{moment}Z"


def last_days(calendar: Calendar, now_s: float, days: int) -> list[Window]:
    """Return the last days of a calendar, the oldest first, today last."""
    windows: list[Window] = []
    moment_s = now_s
    for _ in range(days):
        windows.append(window_at(WindowType.DAY, calendar, moment_s))
        moment_s = windows[-1].start_s - 1
    windows.reverse()
    return windows
