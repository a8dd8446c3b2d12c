"""The servers under load, each a process of its own on the first core: sidecars and the baselines beside them."""

import contextlib
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.http_check import free_port, server
from bench.suite.rule_sets import write
from cli.embedded import EmbeddedStore
from cli.store_socket import ask

READY_DEADLINE_S = 120.0
READY_POLL_S = 0.002
PATIENT = {"SPENDGATE_DEADLINE_MS": "10000", "SPENDGATE_COMMAND_TIMEOUT_MS": "10000"}
"""A machine that stalls makes a round slow; with the usual deadlines it would make decisions without the store."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A running server: where it listens (`port` on loopback, `socket`) and its process."""

    port: int
    pid: int
    socket: str = ""
    admin_port: int = 0
    ready_s: float = 0.0

    def metrics(self) -> str:
        """Return a sidecar's metrics."""
        return get(self.admin_port, "/metrics").decode()


def get(port: int, path: str) -> bytes:
    """Return the body of an answer of a loopback port; raises `OSError` unless it is 200."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
        return bytes(answer.read())


def wait_until_ready(admin_port: int) -> None:
    """Wait for a sidecar's readiness."""
    deadline = time.monotonic() + READY_DEADLINE_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            get(admin_port, "/readyz")
            return
        time.sleep(READY_POLL_S)
    raise RuntimeError("the sidecar did not become ready")


@contextlib.contextmanager
def running_store(directory: Path) -> Iterator[EmbeddedStore]:
    """Run a store on this process's core; it does not rewrite its append-only file in the middle of a measurement."""
    with EmbeddedStore.start(directory) as store:
        ask(store.socket, "CONFIG SET auto-aof-rewrite-percentage 0")
        yield store


@contextlib.contextmanager
def running_baseline(kind: str, *arguments: str) -> Iterator[Subject]:
    """Run one of `bench.baselines`."""
    port = free_port()
    with server(["-m", "bench.baselines", kind, str(port), *arguments], port, {}) as pid:
        yield Subject(port=port, pid=pid)


@contextlib.contextmanager
def running_sidecar(
    directory: Path, store_url: str, listed: list[dict[str, Any]], settings: Mapping[str, str] | None = None
) -> Iterator[Subject]:
    """Run a sidecar with these rules over a store; `ready_s` is how long it took from its start."""
    directory.mkdir()
    port, admin_port, path = free_port(), free_port(), str(directory / "s")
    environment = {
        "SPENDGATE_REDIS_URL": store_url,
        "SPENDGATE_RULES": str(write(directory / "rules.json", listed)),
        "SPENDGATE_DATA_DIR": str(directory / "data"),
        "SPENDGATE_PORT": str(port),
        "SPENDGATE_ADMIN_PORT": str(admin_port),
        "SPENDGATE_UNIX_SOCKET": path,
        "SPENDGATE_WORKSPACE": directory.name,
        **PATIENT,
        **(settings or {}),
    }
    started = time.perf_counter()
    with server(["-m", "cli.main", "sidecar"], admin_port, environment) as pid:
        wait_until_ready(admin_port)
        ready_s = time.perf_counter() - started
        yield Subject(port=port, pid=pid, socket=path, admin_port=admin_port, ready_s=ready_s)
