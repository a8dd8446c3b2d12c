"""How fast a backlog of the journal reaches a store that is back; writes ``bench/results/journal_replay.json``.

The store is stopped, checks are let through without it (`on_store_failure: allow`) until so many wait, and it starts
again over its data. Counted from when the sidecar asks it again: until nothing waits, and what a lone caller feels
meanwhile, beside what it feels afterwards; an answer that was given without the store ends the run. Then the same with
the sidecar stopped in the outage as well and started over its journal.
The sidecar has one core, store and callers the other. ``python -m bench.journal_replay [--operations 10000 100000]``.
"""

import argparse
import contextlib
import json
import re
import socket
import tempfile
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.http_check import RESULTS, ROOT, free_port, machine, measure, pin, server
from bench.load import Connection, request_template, summarize
from bench.outage import start_arguments
from cli.embedded import EmbeddedStore

PENDING = "spendgate_journal_pending_records"
OPEN_BREAKERS = "spendgate_breaker_open"
FILL_S = 1.0
LONE_S = 1.0
USERS = 1000
DEADLINE_S = 300.0
POLL_S = 0.05
"""Each look is work for the sidecar that is measured, so they are few."""


def gauge(admin_port: int, name: str) -> int:
    """Return what a metric of the sidecar says now."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/metrics", timeout=DEADLINE_S) as response:
        match = re.search(rf"^{name} (\S+)$", response.read().decode(), re.MULTILINE)
    if match is None:
        raise KeyError(name)
    return int(float(match[1]))


def until_none(admin_port: int, name: str) -> float:
    """Return the seconds until a metric is 0. Raises `TimeoutError`."""
    started = time.perf_counter()
    while time.perf_counter() - started < DEADLINE_S:
        if gauge(admin_port, name) == 0:
            return time.perf_counter() - started
        time.sleep(POLL_S)
    raise TimeoutError(f"{name} does not get to 0")


def ask_until(port: int, is_over: Callable[[], bool]) -> dict[str, float]:
    """Ask on one connection until something is over; return what was felt. Raises `RuntimeError` for other answers."""
    template, latencies = request_template(f"{time.time_ns():x}"), list[float]()
    started = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port)) as opened:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(opened)
        while not is_over():
            connection.arrived, connection.sent_at = b"", time.perf_counter()
            opened.sendall(template % (len(latencies), len(latencies) % USERS))
            while not connection.is_answered():
                pass
            latencies.append(time.perf_counter() - connection.sent_at)
            if not connection.arrived.startswith(b"HTTP/1.1 200") or b'"degraded":false' not in connection.arrived:
                raise RuntimeError("an answer was given without the store; the figures would mean nothing")
    return summarize(latencies, time.perf_counter() - started, 0)


def felt_meanwhile(port: int, admin_port: int) -> tuple[float, dict[str, float]]:
    """Return the seconds until nothing waits, and what a lone caller felt until then and no longer."""
    with ThreadPoolExecutor(1) as other:
        brought = other.submit(until_none, admin_port, PENDING)
        felt = ask_until(port, brought.done)
        return brought.result(), felt


def resident_mib(pid: int) -> float:
    """Return the largest resident memory that a process has had, MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def figures(operations: int, seconds: float, **more: float) -> dict[str, float]:
    """Return what one backlog was like."""
    return {"operations": operations, "seconds": seconds, "per_second": operations / seconds, **more}


def run(operations: int, *, restarts: bool) -> dict[str, float]:
    """Fill the journal, let the store come back, and measure."""
    with tempfile.TemporaryDirectory(prefix="sg-bench-") as name, contextlib.ExitStack() as stack:
        store = EmbeddedStore.start(Path(name) / "store")
        port, admin_port = free_port(), free_port()
        environment = start_arguments("allow", port, store.url, Path(name) / "allow")
        environment["SPENDGATE_ADMIN_PORT"] = str(admin_port)
        command = ["-m", "cli.main", "sidecar"]
        sidecar = stack.enter_context(contextlib.ExitStack())
        pid = sidecar.enter_context(server(command, port, environment))
        measure(port, 32, FILL_S)
        store.stop()
        while (waiting := gauge(admin_port, PENDING)) < operations:
            measure(port, 32, FILL_S)
        if restarts:
            sidecar.close()
        started = time.perf_counter()
        stack.callback(EmbeddedStore.start(Path(name) / "store").stop)
        store_s = time.perf_counter() - started
        if restarts:
            started = time.perf_counter()
            pid = stack.enter_context(server(command, port, environment))
            ready_s = time.perf_counter() - started
            seconds = until_none(admin_port, PENDING)
            return figures(waiting, ready_s + seconds, ready_s=ready_s, resident_mib=resident_mib(pid))
        asked_s = until_none(admin_port, OPEN_BREAKERS)
        seconds, felt = felt_meanwhile(port, admin_port)
        calm = measure(port, 1, LONE_S)
        return figures(
            waiting,
            seconds,
            store_start_s=store_s,
            asked_again_s=asked_s,
            p50_ms=felt["p50_ms"],
            p99_ms=felt["p99_ms"],
            max_ms=felt["max_ms"],
            calm_p50_ms=calm["p50_ms"],
            calm_p99_ms=calm["p99_ms"],
            calm_max_ms=calm["max_ms"],
            p50_of_calm=felt["p50_ms"] / calm["p50_ms"],
            p99_of_calm=felt["p99_ms"] / calm["p99_ms"],
            resident_mib=resident_mib(pid),
        )


def main() -> None:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", type=int, nargs="+", default=[10_000, 100_000])
    options = parser.parse_args()
    pin(-1)
    found = {
        f"{operations} operations, {'sidecar restarted' if restarts else 'sidecar stayed'}": run(
            operations, restarts=restarts
        )
        for operations in options.operations
        for restarts in (False, True)
    }
    for name, result in found.items():
        print(f"{name}: " + ", ".join(f"{figure} {value:,.2f}" for figure, value in result.items()))
    path = RESULTS / "journal_replay.json"
    path.write_text(json.dumps({"machine": machine(), "method": vars(options), "found": found}, indent=2) + "\n")
    print(f"written to {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
