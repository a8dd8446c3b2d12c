"""How fast a backlog of the journal reaches a store that is back; writes ``bench/results/journal_replay.json``.

The store is killed, checks are let through without it (`on_store_failure: allow`) until so many wait, and it starts
again over its data. Counted from when it answers: until nothing waits, and what a lone caller feels meanwhile, beside
what it feels afterwards. Answers that the sidecar still gave without the store are among those meanwhile. Then the
same with the sidecar killed in the outage as well and started over its journal. The sidecar has one core, store and
callers the other. ``python -m bench.journal_replay [--operations 10000 100000]``.
"""

import argparse
import contextlib
import json
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from bench.http_check import RESULTS, ROOT, free_port, machine, measure, pin, server
from bench.outage import start_arguments
from cli.embedded import EmbeddedStore

PENDING = re.compile(r"^spendgate_journal_pending_records (\S+)$", re.MULTILINE)
FILL_S = 1.0
LONE_S = 1.0
REPLAYED_PER_SECOND = 10_000
"""So that the lone caller asks for about as long as it takes."""
DEADLINE_S = 300.0
POLL_S = 0.01


def pending(admin_port: int) -> int:
    """Return how many operations wait in the journal."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/metrics", timeout=DEADLINE_S) as response:
        match = PENDING.search(response.read().decode())
    return int(float(match[1])) if match else 0


def until_brought(admin_port: int) -> float:
    """Return the seconds until nothing waits. Raises `TimeoutError`."""
    started = time.perf_counter()
    while time.perf_counter() - started < DEADLINE_S:
        if pending(admin_port) == 0:
            return time.perf_counter() - started
        time.sleep(POLL_S)
    raise TimeoutError("the backlog was not brought to the store")


@contextlib.contextmanager
def lone_caller(port: int, found: dict[str, float], seconds: float) -> Iterator[None]:
    """Ask on one connection meanwhile; what was felt is in `found` afterwards."""
    command = [sys.executable, "-m", "bench.load", "--port", str(port), "--connections", "1", "--seconds", str(seconds)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        yield
        output, _ = process.communicate(timeout=DEADLINE_S)
    found.update({name: float(value) for name, value in json.loads(output).items()})


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
        while (waiting := pending(admin_port)) < operations:
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
            seconds = until_brought(admin_port)
            return figures(waiting, ready_s + seconds, ready_s=ready_s, resident_mib=resident_mib(pid))
        felt: dict[str, float] = {}
        with lone_caller(port, felt, max(LONE_S, waiting / REPLAYED_PER_SECOND)):
            seconds = until_brought(admin_port)
        calm = measure(port, 1, LONE_S)
        return figures(
            waiting,
            seconds,
            store_start_s=store_s,
            p50_ms=felt["p50_ms"],
            p99_ms=felt["p99_ms"],
            max_ms=felt["max_ms"],
            calm_p50_ms=calm["p50_ms"],
            calm_p99_ms=calm["p99_ms"],
            calm_max_ms=calm["max_ms"],
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
