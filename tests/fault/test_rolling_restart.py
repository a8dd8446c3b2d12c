"""A rolling restart as an orchestrator makes it: SIGTERM under load, a new process there, and the app goes on."""

import asyncio
import itertools
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from spendgate import AsyncSpendgate

from tests.support.books import Books, every_window, new_workspace, read_books
from tests.support.processes import SidecarProcess, launch, template, wait_until_serving, write_rules
from tests.support.stores import store_process

WORKERS: Final = 8
RESTARTS: Final = 3
CALLS_BETWEEN: Final = 60
COST_NANOS: Final = 2_000_000
DELIVERED_WITHIN_S: Final = 60.0
DEADLINE_S: Final = 60.0
USER: Final = "user-1"


@dataclass
class App:
    """Calls a model again and again, by the SDK; what its provider asks for is the truth."""

    client: AsyncSpendgate
    made: int = 0
    without_sidecar: int = 0
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Call until told to stop; no call may fail, whatever becomes of the sidecar."""
        while not self.stopping.is_set():
            hold = await self.client.reserve(USER, tier="free", estimate_usd="0.001")
            self.without_sidecar += hold.decision.degraded
            self.made += 1
            await hold.settle(cost_usd="0.002")

    async def until_made(self, more: int) -> None:
        """Wait for the app to have made so many more calls."""
        made = self.made + more
        await self._until(lambda: self.made >= made)

    async def until_alone(self) -> None:
        """Wait for a call that finds no sidecar."""
        before = self.without_sidecar
        await self._until(lambda: self.without_sidecar > before)

    async def _until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not is_so():  # noqa: ASYNC110 - the workers count
                await asyncio.sleep(0.005)


class Place:
    """Where a sidecar is: a Unix socket that one process after the other serves, with one data directory."""

    def __init__(self, directory: Path, store_url: str, workspace: str) -> None:
        self.socket = directory / "s"
        self._directory = directory / "sidecar"
        self._rules = write_rules(directory / "rules.yaml", template("free", 10_000, on_store_failure="allow"))
        self._settings = {"workspace": workspace, "unix_socket": self.socket}
        self._store_url = store_url
        self._numbers = itertools.count()
        self._running: SidecarProcess | None = None

    def start(self) -> None:
        """Start a process; the one before has ended."""
        log_directory = self._directory / str(next(self._numbers))
        data_dir = self._directory / "kept"
        process = launch(log_directory, self._store_url, self._rules, **{**self._settings, "data_dir": data_dir})
        self._running = wait_until_serving(process, log_directory / "log")

    def stop(self) -> int:
        """Stop it by SIGTERM; returns its exit code."""
        return 0 if self._running is None else self._running.stop()


async def _books_with(store_url: str, workspace: str, spend: dict[str, int]) -> Books:
    """Return the books once the user has spent so much: what the app's journal held was delivered."""
    async with asyncio.timeout(DELIVERED_WITHIN_S):
        while True:
            books = await read_books(store_url, workspace)
            if spend == books.spend(USER):
                return books
            await asyncio.sleep(0.1)


@pytest.mark.timeout(240)
async def test_a_rolling_restart_loses_no_charge_and_makes_none_twice(tmp_path: Path) -> None:
    """The app goes on by its policy; in the end the store has each call's cost once, and nothing is held."""
    workspace, codes = new_workspace(), []
    with ExitStack() as stack:
        store = stack.enter_context(store_process())
        place = Place(tmp_path, store.url, workspace)
        await asyncio.to_thread(place.start)
        stack.callback(place.stop)
        async with AsyncSpendgate(f"unix://{place.socket}", fail="open", journal_dir=tmp_path / "app") as client:
            app = App(client)
            workers = [asyncio.create_task(app.run()) for _ in range(WORKERS)]
            for _ in range(RESTARTS):
                await app.until_made(CALLS_BETWEEN)
                codes.append(await asyncio.to_thread(place.stop))
                await app.until_alone()
                await asyncio.to_thread(place.start)
            await app.until_made(CALLS_BETWEEN)
            app.stopping.set()
            await asyncio.gather(*workers)
            books = await _books_with(store.url, workspace, every_window(app.made * COST_NANOS))

    assert [0] * RESTARTS == codes
    assert (every_window(0), []) == (books.held(USER), books.report.differences)
