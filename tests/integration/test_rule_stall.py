"""Large rule sets beside a running event loop: no stall over 20 milliseconds."""

import asyncio
import json
import time
from pathlib import Path

from sidecar.rule_cache import RuleCache
from sidecar.rule_loading import DocumentFormat, load_rule_set

OVERRIDES = 100_000
BEAT_S = 0.001
LIMIT_S = 0.020
ATTEMPTS = 4


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


async def test_swap_of_100_000_overrides_stalls_the_loop_for_less_than_20_ms(tmp_path: Path) -> None:
    """The calmest of a few pushes counts, because a busy machine stalls any loop."""
    cache = RuleCache(tmp_path)
    await cache.swap(await load_rule_set(pushed(1), DocumentFormat.JSON))
    stalls_s: list[float] = []

    while len(stalls_s) < ATTEMPTS and min(stalls_s, default=LIMIT_S) >= LIMIT_S:
        stalls_s.append(await longest_stall_s(cache, len(stalls_s) + 2))

    print(f"longest stall, ms: {', '.join(f'{stall_s * 1000:.1f}' for stall_s in stalls_s)}")  # noqa: T201
    assert min(stalls_s) < LIMIT_S
