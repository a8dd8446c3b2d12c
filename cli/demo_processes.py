"""The processes of a demo: `spendgate up` with its store and page, and more sidecars over that store."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cli.failure import CommandFailed
from cli.store_socket import choose_socket_path
from cli.tether import tie_to_parent
from cli.up import store_dir

DEFAULT_PORT: Final = 8787
DEFAULT_ADMIN_PORT: Final = 9797
DEFAULT_PAGE_PORT: Final = 8788
DEFAULT_PAGE_ADMIN_PORT: Final = 9798
READY_DEADLINE_S: Final = 30.0
STOP_DEADLINE_S: Final = 20.0
POLL_INTERVAL_S: Final = 0.05
WORKSPACE: Final = "demo"
LOG_TAIL_LINES: Final = 10


@dataclass(frozen=True, slots=True)
class DemoProcesses:
    """Where the demo's sidecars decide, and where its page is."""

    urls: tuple[str, ...]
    page_url: str


@contextlib.contextmanager
def running_demo(
    data_dir: Path, rules: Path, count: int, prices: Path | None = None, *, more: Mapping[str, str] | None = None
) -> Iterator[DemoProcesses]:
    """Run `spendgate up` over a data directory, and more sidecars over its store; yield where they are, then end all.

    The store takes its first rules and prices from files; all sidecars follow the store, so that the page's changes
    count. `more` are SPENDGATE_... variables of all of them.
    """
    page_port, page_admin_port = free_port(DEFAULT_PAGE_PORT), free_port(DEFAULT_PAGE_ADMIN_PORT)
    shared = dict(more or {})
    first = {
        **shared,
        "SPENDGATE_EMBEDDED": "1",
        "SPENDGATE_SEED": str(rules),
        "SPENDGATE_CONTROL_PORT": str(page_port),
        "SPENDGATE_CONTROL_ADMIN_PORT": str(page_admin_port),
    }
    if prices is not None:
        first["SPENDGATE_SEED_PRICES"] = str(prices)
    with contextlib.ExitStack() as stack:
        urls = [stack.enter_context(_running("up", data_dir, first))]
        store = {**shared, "SPENDGATE_REDIS_URL": f"unix://{choose_socket_path(store_dir(data_dir))}"}
        for number in range(2, count + 1):
            own_dir = data_dir / f"sidecar-{number}"
            own_dir.mkdir()
            urls.append(stack.enter_context(_running("sidecar", own_dir, store)))
        yield DemoProcesses(tuple(urls), f"http://127.0.0.1:{page_port}")


@contextlib.contextmanager
def _running(command: str, data_dir: Path, more: dict[str, str]) -> Iterator[str]:
    """Run one sidecar, yield its URL when it is ready, and end it."""
    port, admin_port = free_port(DEFAULT_PORT), free_port(DEFAULT_ADMIN_PORT)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SPENDGATE_")}
    environment |= {
        "SPENDGATE_DATA_DIR": str(data_dir),
        "SPENDGATE_WORKSPACE": WORKSPACE,
        "SPENDGATE_PORT": str(port),
        "SPENDGATE_ADMIN_PORT": str(admin_port),
        **more,
    }
    logfile = data_dir / "up.log"
    with logfile.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - a command of ours
            [sys.executable, "-m", "cli.main", command],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=tie_to_parent(),  # noqa: PLW1509 - the demo has no threads
        )
    try:
        _wait_until_ready(process, f"http://127.0.0.1:{admin_port}/readyz", logfile)
        yield f"http://127.0.0.1:{port}"
    finally:
        _stop(process)


def free_port(preferred: int) -> int:
    """Return `preferred` if nobody listens there, else a port that the system says is free."""
    for port in (preferred, 0):
        with socket.socket() as candidate, contextlib.suppress(OSError):
            candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            candidate.bind(("127.0.0.1", port))
            bound: int = candidate.getsockname()[1]
            return bound
    raise CommandFailed("no free port on 127.0.0.1")


def _wait_until_ready(process: "subprocess.Popen[bytes]", url: str, logfile: Path) -> None:
    deadline = time.monotonic() + READY_DEADLINE_S
    while not _is_ready(url):
        if process.poll() is not None or time.monotonic() > deadline:
            tail = "\n".join(logfile.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
            raise CommandFailed(f"the sidecar did not start:\n{tail}")
        time.sleep(POLL_INTERVAL_S)


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1.0):  # noqa: S310 - a fixed http address of ours
            return True
    except (urllib.error.URLError, OSError):
        return False


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
