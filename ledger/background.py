"""A process that serves until it is told to stop, and the tasks beside its listeners: one that fails ends it all."""

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, TypeVar

from ledger.errors import LedgerError

Listeners = TypeVar("Listeners")

CANCELLATIONS: Final = 10
CANCELLED_WITHIN_S: Final = 0.1

log = logging.getLogger("spendgate")


class Background:
    """Tasks that run beside the listeners; one that fails is logged and told."""

    def __init__(self, on_failure: Callable[[], None]) -> None:
        self._on_failure = on_failure
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine until it ends or `stop` is called."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a background task failed", exc_info=task.exception())
            self._on_failure()

    async def stop(self) -> None:
        """Cancel all and wait until they have ended.

        Repeated: redis-py sends through `asyncio.wait_for`, which on Python 3.11 swallows a cancellation that comes
        in the moment the sending is done. The task would go on, and the process would never end.
        """
        attempts = 0
        while self._tasks and attempts < CANCELLATIONS:
            attempts += 1
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=CANCELLED_WITHIN_S)
        if self._tasks:
            log.error("%d background tasks do not end; going on without them", len(self._tasks))


async def serve_until_stopped(
    serving: Callable[[Callable[[], None]], AbstractAsyncContextManager[Listeners]],
    *,
    on_serving: Callable[[Listeners], None],
    on_stopping: Callable[[], None],
) -> None:
    """Serve until SIGTERM or SIGINT, or until `serving` calls what it is given: that a background task failed.

    Raises `LedgerError` after such a failure, once everything has ended.
    """
    stop, failed = asyncio.Event(), asyncio.Event()

    def fail() -> None:
        failed.set()
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serving(fail) as listeners:
        on_serving(listeners)
        await stop.wait()
        on_stopping()
    if failed.is_set():
        raise LedgerError("a background task failed; the log says why")
