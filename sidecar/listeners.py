"""The two listeners of a sidecar: decisions on loopback TCP and a Unix socket, health and metrics on another port."""

import contextlib
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

from sidecar.api.connection import DecisionServer
from sidecar.app import CLOSE_STREAMS, DIRECT, QUICK
from sidecar.settings import Settings

SHUTDOWN_S: Final = 4.0
SOCKET_MODE: Final = 0o660
BACKLOG: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a sidecar serves that is one of several workers (`sidecar.workers`).

    It shares the port of decisions with its siblings, accepts from the Unix socket that its supervisor has opened
    (a file descriptor), and serves its admin application on a private Unix socket (a path). `workers` is how many they
    are.
    """

    workers: int
    admin_socket: str
    socket_fd: int | None = None


class Listeners:
    """Opens both applications and closes them again, letting requests in flight finish for at most 4 seconds."""

    def __init__(self, decision_app: web.Application, admin_app: web.Application) -> None:
        self._decision = web.AppRunner(decision_app, access_log=None, shutdown_timeout=SHUTDOWN_S)
        self._admin = web.AppRunner(admin_app, access_log=None, shutdown_timeout=SHUTDOWN_S)
        self._socket: Path | None = None
        self._socket_inode = 0
        self.decision_url = ""
        self.admin_url = ""

    async def open(self, settings: Settings, place: Place | None = None) -> None:
        """Listen; port 0 takes a free one, which `decision_url` and `admin_url` then tell."""
        await self._decision.setup()
        await self._admin.setup()
        self._answer_directly()
        try:
            if place is None:
                await self._listen_alone(settings)
            else:
                await self._listen_in_place(settings, place)
        except OSError:
            await self.close()
            raise

    def _answer_directly(self) -> None:
        """Put the application's direct routes before its own handling, and connections of ours before aiohttp's."""
        server, app = self._decision.server, self._decision.app
        if server is not None and DIRECT in app:
            server.request_handler = app[DIRECT](server.request_handler)
        if server is not None and QUICK in app:
            self._decision._server = DecisionServer(server, app[QUICK])  # noqa: SLF001 - nobody has connected yet

    async def _listen_alone(self, settings: Settings) -> None:
        self.admin_url = await _listen(self._admin, settings.admin_host, settings.admin_port)
        self.decision_url = await _listen(self._decision, settings.host, settings.port)
        if settings.unix_socket is not None:
            path = Path(settings.unix_socket)
            listener, self._socket_inode = listen_on_socket(path)
            self._socket = path
            await web.SockSite(self._decision, listener).start()

    async def _listen_in_place(self, settings: Settings, place: Place) -> None:
        await web.UnixSite(self._admin, place.admin_socket).start()
        self.decision_url = await _listen(self._decision, settings.host, settings.port, reuse_port=True)
        if place.socket_fd is not None:
            await web.SockSite(self._decision, socket.socket(fileno=place.socket_fd)).start()

    async def close(self) -> None:
        """Accept nothing new, finish what is in flight, close."""
        if CLOSE_STREAMS in self._decision.app:
            await self._decision.app[CLOSE_STREAMS]()
        await self._decision.cleanup()
        await self._admin.cleanup()
        if self._socket is not None:
            remove_socket(self._socket, self._socket_inode)


class SupervisorListener:
    """The admin listener of several workers' supervisor."""

    def __init__(self, app: web.Application) -> None:
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
        self.url = ""

    async def open(self, settings: Settings) -> None:
        """Listen; port 0 takes a free one, which `url` then tells."""
        await self._runner.setup()
        self.url = await _listen(self._runner, settings.admin_host, settings.admin_port)

    async def close(self) -> None:
        """Finish what is in flight, close."""
        await self._runner.cleanup()


async def _listen(runner: web.AppRunner, host: str, port: int, *, reuse_port: bool | None = None) -> str:
    known = len(runner.addresses)
    await web.TCPSite(runner, host, port, reuse_port=reuse_port).start()
    address = runner.addresses[known]
    return f"http://{f'[{address[0]}]' if ':' in address[0] else address[0]}:{address[1]}"


def listen_on_socket(path: Path) -> tuple[socket.socket, int]:
    """Listen on a Unix socket that its owner and group may use; returns it and its inode.

    Raises `OSError` for a path that another process serves, or that is something else.
    """
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(path))
        path.chmod(SOCKET_MODE)
        listener.listen(BACKLOG)
        return listener, path.stat().st_ino
    except OSError:
        listener.close()
        raise


def remove_socket(path: Path, inode: int) -> None:
    """Remove our socket, but not one that another process has put in its place."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_ino == inode:
            path.unlink()


def _remove_stale(path: Path) -> None:
    """Remove a socket that nobody serves any more. Raises `OSError` for a file that is none, or that answers."""
    if not path.exists():
        return
    if not path.is_socket():
        raise OSError(f"{path} is there and is no socket; name another path")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
    raise OSError(f"{path} is served by another process; stop it first, or name another path")
