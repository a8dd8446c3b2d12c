"""A whole service on an event loop of its own thread, for tests that call it with a blocking client."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Generic, TypeVar

from controlplane.listeners import Listeners as PageListeners
from controlplane.service import running_control_plane
from sidecar.listeners import Listeners as SidecarListeners
from sidecar.service import running_sidecar
from sidecar.settings import Settings
from tests.support.control_plane import control_settings
from tests.support.patience import sidecar_environment

START_DEADLINE_S = 60.0

Listeners = TypeVar("Listeners")
Serving = Callable[[Callable[[], None]], AbstractAsyncContextManager[Listeners]]


class ServiceThread(Generic[Listeners]):
    """One service; `serving` is given what it calls when a background task fails."""

    def __init__(self, serving: Serving[Listeners]) -> None:
        self._serving = serving
        self._serves = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._listeners: Listeners | None = None

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with self._serving(self._stop.set) as self._listeners:
                self._serves.set()
                await self._stop.wait()
        finally:
            self._serves.set()

    def start(self) -> Listeners:
        """Return the listeners once it serves."""
        self._thread.start()
        self._serves.wait(START_DEADLINE_S)
        assert self._listeners is not None, "the service did not start"
        return self._listeners

    def stop(self) -> None:
        """End it and wait until it has ended."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()


@contextlib.contextmanager
def _in_a_thread(serving: Serving[Listeners]) -> Iterator[Listeners]:
    thread = ServiceThread(serving)
    try:
        yield thread.start()
    finally:
        thread.stop()


def sidecar_in_a_thread(
    directory: Path, redis_url: str, **settings: object
) -> contextlib.AbstractContextManager[SidecarListeners]:
    """Run a sidecar on free loopback ports; `settings` become SPENDGATE_... variables, patient by default."""
    environment = {
        "SPENDGATE_REDIS_URL": redis_url,
        "SPENDGATE_DATA_DIR": str(directory),
        "SPENDGATE_PORT": "auto",
        "SPENDGATE_ADMIN_PORT": "auto",
        **sidecar_environment(settings),
    }
    configured = Settings.read(environment, {})
    return _in_a_thread(lambda fail: running_sidecar(configured, on_failure=fail))


def control_plane_in_a_thread(store_url: str, **settings: object) -> contextlib.AbstractContextManager[PageListeners]:
    """Run a control plane on free loopback ports; `settings` become SPENDGATE_... variables."""
    configured = control_settings(store_url, **settings)
    return _in_a_thread(lambda fail: running_control_plane(configured, on_failure=fail))
