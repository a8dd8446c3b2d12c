"""How long a push of 100,000 overrides stalls the event loop: ``python -m bench.rule_stall``. The aim: 20 ms at most.

A timing proves nothing on a busy machine, so this is a benchmark and no test.
"""

import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path

import uvloop

from sidecar.rule_cache import RuleCache
from sidecar.rule_loading import DocumentFormat, load_rule_set

OVERRIDES = 100_000
BEAT_S = 0.001
ROUNDS = 5


class Heartbeat:
    """Beats on the event loop and keeps the longest delay of a beat, seconds."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._loop = asyncio.get_running_loop()
        self._due_s = time.perf_counter()
        self._beat()

    def stop(self) -> None:
        """Beat no more."""
        self._timer.cancel()

    def _beat(self) -> None:
        now_s = time.perf_counter()
        self.longest_s = max(self.longest_s, now_s - self._due_s)
        self._due_s = now_s + BEAT_S
        self._timer = self._loop.call_later(BEAT_S, self._beat)


def pushed(revision: int) -> bytes:
    """Return a push of 100,000 overrides."""
    rules = [
        {"kind": "user_override", "key": f"user-{index}", "limit_usd": 5, "action": "block", "note": str(revision)}
        for index in range(OVERRIDES)
    ]
    return json.dumps({"revision": revision, "rules": rules}).encode()


async def longest_stall_s(cache: RuleCache, revision: int) -> float:
    """Return the longest stall while a push is read, put in force, kept on disk, and the one before it freed."""
    body = pushed(revision)
    heartbeat = Heartbeat()
    await cache.swap(await load_rule_set(body, DocumentFormat.JSON))
    heartbeat.stop()
    return heartbeat.longest_s


async def run() -> list[float]:
    """Return the longest stall of each round, seconds."""
    with tempfile.TemporaryDirectory(prefix="sg-bench-") as name:
        cache = RuleCache(Path(name))
        await cache.swap(await load_rule_set(pushed(1), DocumentFormat.JSON))
        return [await longest_stall_s(cache, revision) for revision in range(2, 2 + ROUNDS)]


def main() -> None:
    """Measure and print."""
    stalls_ms = [stall_s * 1000 for stall_s in uvloop.run(run())]
    print(f"longest stall of {ROUNDS} pushes of {OVERRIDES:,} overrides, ms: ", end="")
    print(f"median {statistics.median(stalls_ms):.1f}, min {min(stalls_ms):.1f}, max {max(stalls_ms):.1f}")


if __name__ == "__main__":
    main()
