"""How soon a sidecar is ready, what it keeps in memory, and how long a scrape takes."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.suite.loads import Load, Users, Wire
from bench.suite.rounds import Result, generate, spread
from bench.suite.rule_sets import rules
from bench.suite.subjects import Subject, get, running_sidecar

WARM_UP_S = 1.0
SCRAPES = 5
BULK_FRAME = 64
BULK_SECONDS = 600.0


def resident_mib(pid: int) -> float:
    """Return what a process has in memory now (Linux)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the platform does not tell the memory of a process")


def start_and_memory(directory: Path, store_url: str, overrides: int) -> Result:
    """Start a sidecar over so many overrides; seconds to ready and resident MiB after a second of checks."""
    with running_sidecar(directory, store_url, rules(overrides)) as sidecar:
        generate(Load(address=str(sidecar.port), seconds=WARM_UP_S))
        return {"ready_s": sidecar.ready_s, "resident_mib": resident_mib(sidecar.pid)}


def bulk(sidecar: Subject, users: int) -> Load:
    """Return a load in which each user asks once."""
    return Load(
        address=str(sidecar.port),
        wire=Wire.STREAM,
        connections=1,
        slots=8,
        per_frame=BULK_FRAME,
        users=Users.EACH_ONCE,
        user_count=users,
        at_most=users,
        seconds=BULK_SECONDS,
    )


def scrape(sidecar: Subject, users: int) -> Mapping[str, Any]:
    """Let so many users ask once, then time scrapes of the sidecar's metrics; sizes in bytes, times in ms."""
    seen = generate(bulk(sidecar, users))
    times_ms, size = [], 0
    for _ in range(SCRAPES):
        started = time.perf_counter()
        size = len(get(sidecar.admin_port, "/metrics"))
        times_ms.append((time.perf_counter() - started) * 1000)
    return {"users": users, "operations": seen["operations"], "scrape_ms": spread(times_ms), "bytes": size}
