"""Ends a server that a killed `spendgate up` left over, and nothing else: a pid in a file may be anyone's by now."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from cli.store_socket import StoreSilent, ask, server_facts

SHUTDOWN_DEADLINE_S: Final = 5.0
SIGNAL_DEADLINE_S: Final = 5.0
POLL_INTERVAL_S: Final = 0.01


def stop_left_over(*, socket: Path, pidfile: Path, configuration: Path) -> bool:
    """End the server that runs with `configuration`, if there is one: SHUTDOWN, SIGTERM, SIGKILL. Say if there was.

    It is found by its socket, or by its pidfile while it does not answer.
    """
    pid = _pid_behind(socket) or _pid_in(pidfile)
    if pid is None or not _runs_with(pid, configuration):
        return False
    with contextlib.suppress(StoreSilent):
        ask(socket, "SHUTDOWN", timeout_s=SHUTDOWN_DEADLINE_S)
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        if _is_gone(pid, configuration):
            break
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal_number)
    _is_gone(pid, configuration)
    return True


def _pid_behind(socket: Path) -> int | None:
    try:
        return int(server_facts(socket)["process_id"])
    except (StoreSilent, KeyError, ValueError):
        return None


def _pid_in(pidfile: Path) -> int | None:
    try:
        return int(pidfile.read_text())
    except (OSError, ValueError):
        return None


def _is_gone(pid: int, configuration: Path) -> bool:
    """Wait for the process to end. A zombie counts as gone: it has no command line any more."""
    deadline = time.monotonic() + SIGNAL_DEADLINE_S
    while _runs_with(pid, configuration):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_INTERVAL_S)
    return True


def _runs_with(pid: int, configuration: Path) -> bool:
    return str(configuration) in _command_line(pid)


def _command_line(pid: int) -> str:
    if sys.platform != "linux":
        shown = subprocess.run(  # noqa: S603 - a fixed program, a number as argument
            ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
        return shown.stdout
    try:
        return os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" "))
    except OSError:
        return ""
