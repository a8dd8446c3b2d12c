"""Midnights: a time zone whose day ends in a moment, for tests that want to see one, and a wait for all the others."""

import struct
import time
import zoneinfo
from collections.abc import Callable
from pathlib import Path

import pytest

from ledger import windows

DAY_S = 86_400
NAME = "Test/Midnight"
LEAST_LEFT_S = 30.0
POLL_S = 0.05


def outlast_midnight(now_s: Callable[[], float] = time.time, pause: Callable[[float], object] = time.sleep) -> None:
    """Return once UTC's day goes on for a while: spend of before midnight is not in a window of after it."""
    while DAY_S - now_s() % DAY_S < LEAST_LEFT_S:
        pause(POLL_S)


def zone_whose_day_ends_in(seconds: int, directory: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make the zone, a fixed offset from UTC, known to this process; returns its name."""
    offset_s = (DAY_S - seconds - int(time.time())) % DAY_S
    offset_s -= DAY_S if offset_s > DAY_S // 2 else 0
    name = f"{NAME}{offset_s % DAY_S}"
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_tzif(offset_s))
    places = [place for place in zoneinfo.TZPATH if place != str(directory)]
    monkeypatch.setattr(zoneinfo, "TZPATH", zoneinfo.TZPATH)
    zoneinfo.reset_tzpath(to=[str(directory), *places])
    windows._timezones.cache_clear()
    return name


def _tzif(offset_s: int) -> bytes:
    """Return a file of RFC 9636, version 1: one offset, no transitions."""
    counts = struct.pack(">6l", 0, 0, 0, 0, 1, 4)
    return b"TZif" + b"\0" + bytes(15) + counts + struct.pack(">lbb", offset_s, 0, 0) + b"TST\0"
