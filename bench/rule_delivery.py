"""How fast a change of the rules is in force in a sidecar, and how long that stalls its event loop.

``python -m bench.rule_delivery``. A control plane in a process of its own commits changes through its registry; this
process follows them as a sidecar does, with the copy on disk, over a real Valkey. From before the commit to in force.
"""

import asyncio
import contextlib
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from bench.rule_stall import Heartbeat
from cli.embedded import EmbeddedStore
from controlplane.registry import Registry
from ledger.background import Background
from ledger.bulk_work import leave_start_alone
from ledger.connection import StoreTimeouts, connect
from ledger.rule_store import RuleStore
from ledger.rules import RuleKind
from sidecar.metrics import Metrics
from sidecar.rule_cache import RuleCache
from sidecar.rule_follower import RuleFollower

WORKSPACE = "bench"
TIMEOUTS = StoreTimeouts(connect_ms=1000, command_ms=30_000)
CHANGES = 100
OVERRIDES = 100_000
REPLACEMENTS = 3
WITHIN_S = 60.0
PRICES = json.loads(Path("config/prices.json").read_bytes())


@dataclass
class Sidecar:
    """The side that follows; `in_force_s` has the moment of each revision, on the machine's monotonic clock."""

    cache: RuleCache
    in_force_s: dict[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Note each revision when it comes into force."""
        self.cache.on_change(lambda rules: self.in_force_s.setdefault(rules.revision, time.monotonic()))

    async def delay_s(self, revision: int, started_s: float) -> float:
        """Wait for a revision; return how long after `started_s` it was in force."""
        async with asyncio.timeout(WITHIN_S):
            while revision not in self.in_force_s:  # noqa: ASYNC110 - a listener notes it
                await asyncio.sleep(0.001)
        return self.in_force_s[revision] - started_s


@contextlib.asynccontextmanager
async def following(url: str, data_dir: Path) -> AsyncIterator[Sidecar]:
    """Follow as a sidecar does."""
    client = connect(url, TIMEOUTS)
    sidecar = Sidecar(RuleCache(data_dir))
    follower = RuleFollower(RuleStore(client, workspace=WORKSPACE), sidecar.cache, Metrics())
    await follower.load()
    background = Background(lambda: sys.exit("following failed"))
    background.start(follower.run())
    background.start(sidecar.cache.run())
    try:
        yield sidecar
    finally:
        await background.stop()
        await client.aclose()


class ControlPlane:
    """The side that commits, in a process of its own: one line asks, one line answers."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, what: str) -> tuple[int, float, float]:
        """Have one change committed; return its revision, and when it was begun and done."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{what}\n".encode())
        answer = json.loads(await self._process.stdout.readline())
        return answer["revision"], answer["started_s"], answer["done_s"]


@contextlib.asynccontextmanager
async def control_plane(url: str) -> AsyncIterator[ControlPlane]:
    """Run one."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.rule_delivery", url),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield ControlPlane(process)
    finally:
        process.kill()
        await process.wait()


async def measure(name: str, control: ControlPlane, sidecar: Sidecar, what: str, count: int) -> None:
    """Print the delays of changes, one after the other, and the longest stall meanwhile."""
    delays_s, behind_s = [], []
    heartbeat = Heartbeat()
    for _ in range(count):
        revision, started_s, done_s = await control.ask(what)
        delays_s.append(await sidecar.delay_s(revision, started_s))
        behind_s.append(max(0.0, delays_s[-1] - (done_s - started_s)))
    heartbeat.stop()
    delays_ms = sorted(delay_s * 1000 for delay_s in delays_s)
    p99_ms = delays_ms[min(len(delays_ms) - 1, int(len(delays_ms) * 0.99))]
    print(
        f"{name:44} {count:4} changes: median {statistics.median(delays_ms):7.1f}, p99 {p99_ms:7.1f}, "
        f"longest {delays_ms[-1]:7.1f} ms; behind the commit at most {max(behind_s) * 1000:7.1f} ms; "
        f"longest stall {heartbeat.longest_s * 1000:5.1f} ms",
        flush=True,
    )


def resident_mb() -> float:
    """Return the memory of this process, the sidecar's side, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


async def run(url: str, data_dir: Path) -> None:
    """Measure with few rules and with very many."""
    async with control_plane(url) as control, following(url, data_dir) as sidecar:
        leave_start_alone()  # As a sidecar does.
        await control.ask("edit")
        await measure("one rule changed, few rules", control, sidecar, "edit", CHANGES)
        few_mb = resident_mb()
        await measure("all known prices, few rules", control, sidecar, "prices", REPLACEMENTS)
        await measure("replaced by 100,000 overrides", control, sidecar, "replace", REPLACEMENTS)
        print(f"memory of the following process: {few_mb:.0f} MB, with 100,000 overrides {resident_mb():.0f} MB")
        await measure("one template changed, 100,000 overrides", control, sidecar, "edit", CHANGES)
        await measure("one override changed, 100,000 overrides", control, sidecar, "override", CHANGES)
        await measure("100 overrides changed, 100,000 overrides", control, sidecar, "merge", CHANGES)
        await measure("another mode, 100,000 overrides", control, sidecar, "mode", CHANGES)
        await measure("another time zone, 100,000 overrides", control, sidecar, "settings", REPLACEMENTS)
        await measure("all known prices, 100,000 overrides", control, sidecar, "prices", REPLACEMENTS)


async def commit_as_asked(url: str) -> None:
    """Be the control plane: one commit for each line, told once it is done."""
    client = connect(url, TIMEOUTS)
    registry = Registry(RuleStore(client, workspace=WORKSPACE))
    await registry.load()
    background = Background(lambda: sys.exit("following failed"))
    background.start(registry.run())
    loop, number = asyncio.get_running_loop(), 0
    while what := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
        number += 1
        started_s = time.monotonic()
        await COMMITS[what](registry, number)
        answer = {"revision": registry.book.revision, "started_s": started_s, "done_s": time.monotonic()}
        print(json.dumps(answer), flush=True)


async def _edit(registry: Registry, number: int) -> None:
    document = {"key": "free", "limit_usd": number, "action": "block"}
    known = registry.book.rules.templates.get("free")
    if known is None:
        await registry.create(document, kind=RuleKind.TIER_TEMPLATE, actor="bench")
    else:
        await registry.update(known[0].id, document, expected_rule_revision=None, actor="bench")


async def _override(registry: Registry, number: int) -> None:
    (rule,) = registry.book.rules.overrides[f"user-{number * 7919 % OVERRIDES}"]
    document = {"key": rule.key, "limit_usd": number, "action": "block"}
    await registry.update(rule.id, document, expected_rule_revision=None, actor="bench")


async def _mode(registry: Registry, number: int) -> None:
    await registry.put_settings({"mode": ("enforce", "stop")[number % 2]}, expected_revision=None, actor="bench")


async def _merge(registry: Registry, number: int, count: int = 100) -> None:
    rows = [{"key": f"user-{user}", "limit_usd": number, "action": "block"} for user in range(count)]
    await registry.merge_overrides(rows, expected_revision=None, actor="bench")


async def _replace(registry: Registry, number: int) -> None:
    await _merge(registry, number, OVERRIDES)


async def _prices(registry: Registry, number: int) -> None:
    document = {**PRICES, "version": f"round {number}"}
    await registry.put_prices(document, expected_revision=None, actor="bench")


async def _settings(registry: Registry, number: int) -> None:
    zone = ("UTC", "Asia/Tokyo")[number % 2]
    if registry.book.workspace.calendar.timezone == zone:
        zone = "Europe/Berlin"
    await registry.put_settings({"timezone": zone}, expected_revision=None, actor="bench")


COMMITS: dict[str, Any] = {
    "prices": _prices,
    "edit": _edit,
    "override": _override,
    "merge": _merge,
    "replace": _replace,
    "mode": _mode,
    "settings": _settings,
}


def main() -> None:
    """Measure and print."""
    if len(sys.argv) > 1:
        asyncio.run(commit_as_asked(sys.argv[1]))
        return
    with tempfile.TemporaryDirectory(prefix="sg-bench-") as name, EmbeddedStore.start(Path(name) / "store") as store:
        uvloop.run(run(store.url, Path(name)))


if __name__ == "__main__":
    main()
