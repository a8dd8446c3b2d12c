"""Several workers behind one port (`SPENDGATE_WORKERS`): each a whole sidecar in a process of its own.

The kernel shares the connections among the workers (SO_REUSEPORT; on a Unix socket they accept from one listener). The
supervisor decides nothing: it starts them, starts one again that died, answers the admin listener for all of them, and
stops them. A worker ends by itself when the supervisor dies.
"""

import asyncio
import contextlib
import dataclasses
import logging
import signal
import socket
import sys
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Final

from ledger.background import Background, serve_until_stopped
from ledger.errors import LedgerError
from sidecar.app import make_supervisor_app
from sidecar.listeners import Place, SupervisorListener, listen_on_socket, remove_socket
from sidecar.settings import Settings
from sidecar.worker import Order
from sidecar.worker_admin import WorkerAdmin

START_DEADLINE_S: Final = 30.0
STOP_DEADLINE_S: Final = 8.0
MAX_DEATHS: Final = 5
DEATHS_WITHIN_S: Final = 60.0

log = logging.getLogger("spendgate.workers")


class WorkersFailed(LedgerError):
    """A worker did not start, or died again and again."""

    code = "workers_failed"


class Workers:
    """The worker processes; `orders` says how each is to serve, by its number from 1."""

    def __init__(self, orders: dict[int, Order]) -> None:
        self._orders = orders
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._deaths: deque[float] = deque(maxlen=MAX_DEATHS)
        self._is_stopping = False
        self.decision_url = ""

    async def start(self) -> None:
        """Start all and wait until they serve. Raises `WorkersFailed`; what was started has to be stopped then."""
        try:
            async with asyncio.TaskGroup() as group:
                for number in self._orders:
                    group.create_task(self._start(number))
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def keep(self, number: int) -> None:
        """Start a worker again whenever it dies. Raises `WorkersFailed` when that happens too often."""
        while True:
            code = await self._processes[number].wait()
            if self._is_stopping:
                return
            log.error("worker %d died (exit code %s); it is started again", number, code)
            self._note_death()
            await self._start(number)

    async def stop(self) -> None:
        """Let all finish what is in flight; a worker that does not end in 8 seconds is killed."""
        self._is_stopping = True
        for process in self._running():
            process.send_signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_DEADLINE_S):
                await asyncio.gather(*[process.wait() for process in self._processes.values()])
        for process in self._running():
            log.error("a worker (process %d) did not end in time; it is killed", process.pid)
            process.kill()
            await process.wait()

    def _running(self) -> list[asyncio.subprocess.Process]:
        return [process for process in self._processes.values() if process.returncode is None]

    def _note_death(self) -> None:
        now = time.monotonic()
        self._deaths.append(now)
        if len(self._deaths) == MAX_DEATHS and now - self._deaths[0] < DEATHS_WITHIN_S:
            raise WorkersFailed(f"workers died {MAX_DEATHS} times in a minute; the log says why")

    async def _start(self, number: int) -> None:
        order = self._orders[number]
        fd = order.place.socket_fd
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "sidecar.worker"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            pass_fds=() if fd is None else (fd,),
        )
        self._processes[number] = process
        if process.stdin is None or process.stdout is None:
            raise WorkersFailed(f"worker {number} has no pipes")
        process.stdin.write(order.encode())
        try:
            async with asyncio.timeout(START_DEADLINE_S):
                line = await process.stdout.readline()
        except TimeoutError:
            raise WorkersFailed(f"worker {number} did not serve within {START_DEADLINE_S:.0f} s") from None
        if not line:
            raise WorkersFailed(f"worker {number} did not start; the log says why")
        self.decision_url = line.decode().strip()


async def serve_workers(settings: Settings) -> None:
    """Serve with several workers until SIGTERM or SIGINT. Raises `LedgerError` when they cannot be kept running."""
    await serve_until_stopped(
        lambda fail: running_workers(settings, on_failure=fail),
        on_serving=lambda urls: log.info(
            "serving decisions on %s, metrics on %s (%d workers)", *urls, settings.workers
        ),
        on_stopping=lambda: log.info("stopping: in-flight decisions finish"),
    )


@contextlib.asynccontextmanager
async def running_workers(settings: Settings, *, on_failure: Callable[[], None]) -> AsyncIterator[tuple[str, str]]:
    """Run the workers and their common admin listener; yields the URLs of decisions and metrics."""
    with _ports(settings) as (port, socket_fd), tempfile.TemporaryDirectory(prefix="spendgate-") as directory:
        workers = Workers(
            {number: _order(settings, number, port, socket_fd, directory) for number in _numbers(settings)}
        )
        admin = WorkerAdmin({number: _admin_socket(directory, number) for number in _numbers(settings)})
        listener = SupervisorListener(make_supervisor_app(admin))
        background = Background(on_failure)
        try:
            await workers.start()
            await listener.open(settings)
            for number in _numbers(settings):
                background.start(workers.keep(number))
            yield workers.decision_url, listener.url
        finally:
            await workers.stop()
            await background.stop()
            await listener.close()
            await admin.aclose()


def _numbers(settings: Settings) -> range:
    return range(1, settings.workers + 1)


def _admin_socket(directory: str, number: int) -> str:
    return str(Path(directory) / f"admin-{number}")


def _order(settings: Settings, number: int, port: int, socket_fd: int | None, directory: str) -> Order:
    """Return a worker's order: the same settings, but for what two processes cannot share."""
    own = dataclasses.replace(
        settings,
        port=port,
        workers=1,
        unix_socket=None,
        data_dir=str(Path(settings.data_dir) / f"worker-{number}"),
    )
    place = Place(workers=settings.workers, admin_socket=_admin_socket(directory, number), socket_fd=socket_fd)
    return Order(settings=own, place=place)


@contextlib.contextmanager
def _ports(settings: Settings) -> Iterator[tuple[int, int | None]]:
    """Keep the port for the workers, whatever becomes of them, and open the Unix socket that they accept from."""
    with contextlib.ExitStack() as stack:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        keeper = stack.enter_context(socket.socket(family))
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        keeper.bind((settings.host, settings.port))
        port: int = keeper.getsockname()[1]
        if settings.unix_socket is None:
            yield port, None
            return
        path = Path(settings.unix_socket)
        listener, inode = listen_on_socket(path)
        stack.callback(remove_socket, path, inode)
        stack.enter_context(listener)
        yield port, listener.fileno()
