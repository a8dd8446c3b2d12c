"""Rules on their way in tests: a registry that changes them, a sidecar's cache that follows, over a real store."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from controlplane.registry import Registry
from ledger.background import Background
from ledger.connection import StoreTimeouts, connect
from ledger.keys import RuleKeys
from ledger.rule_store import RuleStore
from ledger.rules import RuleKind
from sidecar.metrics import Metrics
from sidecar.rule_cache import RuleCache
from sidecar.rule_follower import RuleFollower

TIMEOUTS: Final = StoreTimeouts(connect_ms=10_000, command_ms=10_000)
BLOCK_S: Final = 0.3
POLL_S: Final = 0.005
WITHIN_S: Final = 60.0


async def eventually(is_so: Callable[[], bool]) -> None:
    """Wait until something is so; `TimeoutError` if it is not in time."""
    async with asyncio.timeout(WITHIN_S):
        while not is_so():  # noqa: ASYNC110 - what is awaited sends no event
            await asyncio.sleep(POLL_S)


@dataclass(frozen=True, slots=True)
class Delivery:
    """A workspace of a store: its registry, a client for interference, and its keys."""

    client: Any
    keys: RuleKeys
    store: RuleStore
    registry: Registry

    async def add(self, key: str, limit_usd: int = 5) -> int:
        """Commit a template; return the revision."""
        document = {"key": key, "limit_usd": limit_usd, "action": "block"}
        return (await self.registry.create(document, kind=RuleKind.TIER_TEMPLATE, actor="ada")).revision

    async def add_overrides(self, count: int, limit_usd: int = 5) -> int:
        """Commit overrides of so many users at once; return the revision."""
        rows = [{"key": f"user-{number}", "limit_usd": limit_usd} for number in range(count)]
        return (await self.registry.merge_overrides(rows, expected_revision=None, actor="ada")).revision


@contextlib.asynccontextmanager
async def delivery(url: str, workspace: str) -> AsyncIterator[Delivery]:
    """Open a workspace's rules."""
    client = connect(url, TIMEOUTS)
    store = RuleStore(client, workspace=workspace)
    try:
        yield Delivery(client, RuleKeys.of(workspace), store, Registry(store))
    finally:
        await client.aclose()


@contextlib.asynccontextmanager
async def following(url: str, workspace: str, data_dir: Path | None = None) -> AsyncIterator[RuleCache]:
    """Follow a workspace as a sidecar does, its copy on disk included."""
    client = connect(url, TIMEOUTS)
    cache = RuleCache() if data_dir is None else await RuleCache.load(data_dir)
    follower = RuleFollower(RuleStore(client, workspace=workspace), cache, Metrics(), block_s=BLOCK_S)
    await follower.load()
    failures: list[str] = []
    background = Background(lambda: failures.append("following ended"))
    background.start(follower.run())
    background.start(cache.run())
    try:
        yield cache
        assert [] == failures
    finally:
        await background.stop()
        await cache.keep_last()
        await client.aclose()
