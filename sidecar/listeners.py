"""The two listeners of a sidecar: decisions on loopback TCP and a Unix socket, health and metrics on another port."""

import contextlib
import os
import socket
from pathlib import Path
from typing import Final

from aiohttp import web

from sidecar.app import CLOSE_STREAMS, DIRECT
from sidecar.settings import Settings

SHUTDOWN_S: Final = 4.0
SOCKET_MODE: Final = 0o660


class Listeners:
    """Opens both applications and closes them again, letting requests in flight finish for at most 4 seconds."""

    def __init__(self, decision_app: web.Application, admin_app: web.Application) -> None:
        self._decision = web.AppRunner(decision_app, access_log=None, shutdown_timeout=SHUTDOWN_S)
        self._admin = web.AppRunner(admin_app, access_log=None, shutdown_timeout=SHUTDOWN_S)
        self._socket: Path | None = None
        self._socket_inode = 0
        self.decision_url = ""
        self.admin_url = ""

    async def open(self, settings: Settings) -> None:
        """Listen; port 0 takes a free one, which `decision_url` and `admin_url` then tell."""
        await self._decision.setup()
        await self._admin.setup()
        self._answer_directly()
        try:
            self.admin_url = await _listen(self._admin, settings.admin_host, settings.admin_port)
            self.decision_url = await _listen(self._decision, settings.host, settings.port)
            if settings.unix_socket is not None:
                await self._listen_on_socket(Path(settings.unix_socket))
        except OSError:
            await self.close()
            raise

    def _answer_directly(self) -> None:
        """Put the application's direct routes before its own handling (`sidecar.api.direct`)."""
        server = self._decision.server
        if server is not None and DIRECT in self._decision.app:
            server.request_handler = self._decision.app[DIRECT](server.request_handler)

    async def _listen_on_socket(self, path: Path) -> None:
        _remove_stale(path)
        await web.UnixSite(self._decision, str(path)).start()
        path_stat = _protect(path)
        self._socket, self._socket_inode = path, path_stat.st_ino

    async def close(self) -> None:
        """Accept nothing new, finish what is in flight, close."""
        if CLOSE_STREAMS in self._decision.app:
            await self._decision.app[CLOSE_STREAMS]()
        await self._decision.cleanup()
        await self._admin.cleanup()
        if self._socket is not None:
            _remove_own(self._socket, self._socket_inode)


async def _listen(runner: web.AppRunner, host: str, port: int) -> str:
    known = len(runner.addresses)
    await web.TCPSite(runner, host, port).start()
    address = runner.addresses[known]
    return f"http://{f'[{address[0]}]' if ':' in address[0] else address[0]}:{address[1]}"


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


def _remove_own(path: Path, inode: int) -> None:
    """Remove our socket, but not one that another process has put in its place."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_ino == inode:
            path.unlink()


def _protect(path: Path) -> os.stat_result:
    path.chmod(SOCKET_MODE)
    return path.stat()
