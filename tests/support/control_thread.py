"""A whole control plane on an event loop of its own thread, for tests that call it with a blocking client."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator

from controlplane.listeners import Listeners
from controlplane.service import running_control_plane
from controlplane.settings import Settings
from tests.support.control_plane import control_settings

START_DEADLINE_S = 20.0


class ControlThread:
    """One control plane; `listeners` tells its URLs once it serves."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._serves = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self.listeners: Listeners | None = None

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with running_control_plane(self._settings, on_failure=self._stop.set) as self.listeners:
                self._serves.set()
                await self._stop.wait()
        finally:
            self._serves.set()

    def start(self) -> Listeners:
        """Return the listeners once it serves."""
        self._thread.start()
        self._serves.wait(START_DEADLINE_S)
        assert self.listeners is not None, "the control plane did not start"
        return self.listeners

    def stop(self) -> None:
        """End it and wait until it has ended."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()


@contextlib.contextmanager
def control_plane_in_a_thread(store_url: str, **settings: object) -> Iterator[Listeners]:
    """Run a control plane on free loopback ports; `settings` become SPENDGATE_... variables."""
    thread = ControlThread(control_settings(store_url, **settings))
    try:
        yield thread.start()
    finally:
        thread.stop()
