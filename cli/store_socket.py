"""The Unix socket of the embedded store: where it lies, and the three commands that are asked over it.

The server's own inline protocol is enough for them, so the command line needs no Redis client.
"""

import hashlib
import os
import socket
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

SOCKET_NAME: Final = "valkey.sock"
MAX_SOCKET_PATH_BYTES: Final = 100  # sun_path holds 104 bytes on macOS and 108 on Linux, with the closing zero.
COMMAND_TIMEOUT_S: Final = 2.0
PRIVATE_MODE: Final = 0o700


class SocketPathError(Exception):
    """No private directory with a short enough path was found for the socket."""


class StoreSilent(Exception):
    """Nothing answers on the socket, or not in the protocol."""


def choose_socket_path(data_dir: Path) -> Path:
    """Return the socket's path: in `data_dir`, or, where that is too long, in a private directory of the system's.

    The short directory is named by a digest of the data directory, so the next start finds the same one. Raises
    `SocketPathError` if that directory belongs to someone else or is too long as well.
    """
    beside_data = data_dir / SOCKET_NAME
    if _fits(beside_data):
        return beside_data
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]
    directory = Path(tempfile.gettempdir()) / f"spendgate-{os.getuid()}-{digest}"
    if not _fits(directory / SOCKET_NAME):
        raise SocketPathError(f"the path {beside_data} is too long for a Unix socket: choose a shorter --data-dir")
    directory.mkdir(mode=PRIVATE_MODE, exist_ok=True)
    _require_private(directory)
    return directory / SOCKET_NAME


def ask(path: Path, command: str, *, timeout_s: float = COMMAND_TIMEOUT_S) -> str:
    """Send one inline command and return its reply: the text of a status, an error (with its ``-``) or a bulk string.

    A server that closes the connection without a reply, as after SHUTDOWN, answers an empty text. Raises
    `StoreSilent` when nobody listens or no reply comes within `timeout_s`.
    """
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout_s)
            connection.connect(str(path))
            connection.sendall(f"{command}\r\n".encode())
            with connection.makefile("rb") as reply:
                return _read_reply(reply.readline(), reply.read)
    except (OSError, ValueError) as error:
        raise StoreSilent(f"no answer on {path}: {error}") from error


def server_facts(path: Path) -> dict[str, str]:
    """Return the fields of INFO's server section, such as ``process_id`` and ``redis_version``."""
    lines = ask(path, "INFO server").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)


def _read_reply(head: bytes, read: Callable[[int], bytes]) -> str:
    text = head.decode().rstrip("\r\n")
    if not text.startswith("$"):
        return text.removeprefix("+")
    return read(int(text[1:])).decode()


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= MAX_SOCKET_PATH_BYTES


def _require_private(directory: Path) -> None:
    """Refuse a directory that someone else prepared: whoever owns it could answer in the store's name."""
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise SocketPathError(f"{directory} is not a directory of ours: remove it or choose a shorter --data-dir")
    directory.chmod(PRIVATE_MODE)
