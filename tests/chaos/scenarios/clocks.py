"""The store's clock jumps: a day ahead, an hour back, over midnight with eight sidecars. Needs Debian's libfaketime."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Final

from ledger.windows import WindowType
from tests.chaos.load import Load
from tests.chaos.scenario import Scenario, Stage
from tests.conftest import valkey_binary
from tests.support.books import read_books
from tests.support.ports import HOST, free_ports
from tests.support.processes import running_sidecars, template, write_rules
from tests.support.servers import Server

LIBRARIES: Final = [
    Path(f"/usr/lib/{machine}-linux-gnu/faketime/libfaketime.so.1") for machine in ("x86_64", "aarch64")
]
BEFORE_MIDNIGHT_S: Final = 3
SIDECARS: Final = 8
DST_ZONE: Final = "Europe/Berlin"
DST_MIDNIGHT: Final = datetime(2026, 10, 24, 22, tzinfo=UTC)
"""The day that begins there has 25 hours in Berlin."""


class FakeClock:
    """A server whose clock is the machine's and so many seconds; `set` moves it at once.

    It is Valkey: Debian's Redis does not start under libfaketime, for jemalloc asks for the time too early.
    """

    def __init__(self, directory: Path) -> None:
        library = next((path for path in LIBRARIES if path.exists()), None)
        if library is None:
            raise RuntimeError("libfaketime is not here: apt-get install libfaketime")
        self._file = directory / "clock"
        self.set(0)
        environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        port = free_ports(1)[0]
        self.server = Server(valkey_binary(), port, directory / "store", "--appendonly", "yes", environment=environment)
        self.url = f"redis://{HOST}:{port}"

    def set(self, offset_s: float) -> None:
        """Move the clock to the machine's and so many seconds."""
        fresh = self._file.with_name("fresh")
        fresh.write_text(f"{offset_s:+.3f}s\n")
        fresh.replace(self._file)

    def set_to(self, moment: datetime) -> None:
        """Move the clock to a moment."""
        self.set((moment - datetime.now(UTC)).total_seconds())


async def _start(stage: Stage) -> FakeClock:
    clock = FakeClock(stage.directory)
    await asyncio.to_thread(clock.server.start)
    stage.on_end(clock.server.kill)
    return clock


async def jump(stage: Stage, *, by: timedelta) -> None:
    """Let the clock jump under load; open holds that are overdue by it are charged, and corrected by their settles."""
    clock = await _start(stage)
    sidecars = await stage.sidecars(clock.url)
    load = await stage.load([sidecar.url for sidecar in sidecars])
    async with load.running():
        await load.wait_for(500)
        clock.set(by.total_seconds())
        await load.wait_for(500)
        clock.set(0)
        await load.wait_for(500)
    await stage.compare_exactly(load, clock.url)


async def roll_over(stage: Stage, *, midnight: Callable[[], datetime], zone: str) -> None:
    """Let eight sidecars charge over the end of a day: each charge is in one day, and days add up to the month."""
    clock = await _start(stage)
    start = midnight() - timedelta(seconds=BEFORE_MIDNIGHT_S)
    clock.set_to(start)
    rules = write_rules(stage.directory / "rules.yaml", template("free", 1_000_000, window="day"), timezone=zone)
    settings = {"workspace": stage.workspace, "deadline_ms": 1000, "command_timeout_ms": 500, "connect_timeout_ms": 50}
    sidecars = await stage.enter(running_sidecars(SIDECARS, stage.directory / "eight", clock.url, rules, **settings))
    clock.set_to(start)
    load = await stage.load([sidecar.url for sidecar in sidecars])
    async with load.running():
        await _until_next_day(load, clock, midnight())
        await load.wait_for(500)
    books = await read_books(clock.url, stage.workspace)
    windows = {window for window, _ in books.snapshot.counters if window.type is WindowType.DAY}
    days = sorted(windows, key=lambda day: day.start_s)
    stage.report.notes["day_hours"] = [(day.end_s - day.start_s) // 3600 for day in days]
    stage.expect(len(days) == 2, f"charges are in {len(days)} days")
    await stage.compare_exactly(load, clock.url)


async def _until_next_day(load: Load, clock: FakeClock, midnight: datetime) -> None:
    with clock.server.client() as client:
        await load.until(lambda: client.time()[0] > midnight.timestamp() + 1)


def _next_midnight() -> datetime:
    return (datetime.now(UTC) + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)


def _scenario(name: str, title: str, run: Callable[[Stage], Awaitable[None]]) -> Scenario:
    return Scenario(name=name, title=title, bound="nothing", run=run)


SCENARIOS = [
    _scenario("clock-day-ahead", "Store's clock a day ahead and back", partial(jump, by=timedelta(days=1))),
    _scenario("clock-hour-back", "Store's clock an hour back and again right", partial(jump, by=timedelta(hours=-1))),
    _scenario("clock-midnight", "Midnight with 8 sidecars", partial(roll_over, midnight=_next_midnight, zone="UTC")),
    _scenario(
        "clock-dst",
        "Into the day of 25 hours, with 8 sidecars",
        partial(roll_over, midnight=lambda: DST_MIDNIGHT, zone=DST_ZONE),
    ),
]
