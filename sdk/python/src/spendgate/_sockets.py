"""Blocking Unix sockets for httpcore2, whose own (2.16) leave a socket open each time that nobody serves the path."""

import contextlib
import select
import socket
from collections.abc import Iterable, Iterator
from typing import Any

import httpcore2


class Sockets(httpcore2.SyncBackend):
    """httpcore2's blocking sockets, but for Unix sockets."""

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None
    ) -> httpcore2.NetworkStream:
        """Connect; raises `ConnectTimeout` and `ConnectError`, after which nothing stays open."""
        connection = socket.socket(socket.AF_UNIX)
        with contextlib.ExitStack() as on_failure:
            on_failure.callback(connection.close)
            with _errors_as(httpcore2.ConnectTimeout, httpcore2.ConnectError):
                for option in socket_options or ():
                    connection.setsockopt(*option)
                connection.settimeout(timeout)
                connection.connect(path)
            on_failure.pop_all()
        return _UnixStream(connection)


class _UnixStream(httpcore2.NetworkStream):
    """A connection over a Unix socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Return what arrives next; nothing at the end."""
        with _errors_as(httpcore2.ReadTimeout, httpcore2.ReadError):
            self._connection.settimeout(timeout)
            return self._connection.recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send all of it."""
        with _errors_as(httpcore2.WriteTimeout, httpcore2.WriteError):
            self._connection.settimeout(timeout)
            self._connection.sendall(buffer)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def get_extra_info(self, info: str) -> Any:
        """Say whether something arrived unasked: on an idle connection that is its end."""
        if info != "is_readable":
            return None
        if self._connection.fileno() < 0:
            return True
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        return bool(poll.poll(0))


@contextlib.contextmanager
def _errors_as(timeout: type[Exception], failure: type[Exception]) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise timeout(error) from error
    except OSError as error:
        raise failure(error) from error
