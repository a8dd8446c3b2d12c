"""An outage on purpose: the demo's store is frozen while callers go on, and what each policy makes of it is shown."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
from rich.console import Console

from cli.amounts import amount_text, cents_text
from cli.failure import CommandFailed
from cli.sidecar_client import STATUS_OK, TIMEOUT_S
from cli.tables import plain_table
from ledger.money import NANOS_PER_USD, parse_usd
from ledger.rule_fields import ALLOWANCE

COST_NANOS: Final = 10_000_000
PAUSE_S: Final = 0.01
SLOWEST_S: Final = 1.0
"""Far above a sidecar's deadline: what takes longer has waited for the store."""


@dataclass(slots=True)
class TierDrill:
    """What one user of a tier was told while the store was frozen; `policy` as in `on_store_failure`."""

    tier: str
    policy: object = None
    allowed: int = 0
    seconds: list[float] = field(default_factory=list)

    def note(self, decision: dict[str, Any], seconds: float) -> None:
        """Count an answer, unless the store itself gave it."""
        if decision["degraded"]:
            self.policy = decision["on_store_failure"]
            self.allowed += decision["allowed"]
            self.seconds.append(seconds)

    def bound_nanos(self, sidecars: int) -> int | None:
        """Return how much may be let through; None for no bound."""
        if isinstance(self.policy, dict):
            return parse_usd(self.policy[ALLOWANCE], field=ALLOWANCE) * sidecars
        return 0 if self.policy == "deny" else None

    def faults(self, sidecars: int) -> list[str]:
        """Return what must not be."""
        bound_nanos = self.bound_nanos(sidecars)
        found = []
        if not self.seconds:
            found.append(f"{self.tier}: the store answered all the time")
        elif max(self.seconds) > SLOWEST_S:
            found.append(f"{self.tier}: an answer took {max(self.seconds):.1f} s")
        if bound_nanos is not None and self.allowed * COST_NANOS > bound_nanos:
            found.append(f"{self.tier}: more was let through than {cents_text(bound_nanos)} USD")
        return found


def run_drill(urls: Sequence[str], store_pid: int, seconds: float, console: Console) -> list[str]:
    """Freeze a store for some seconds, show what happened, and return what should not have."""
    drills, back_s = asyncio.run(_drill(urls, store_pid, seconds))
    table = plain_table(
        left=("Tier", "While Redis is away"),
        right=("Calls", "Allowed", "Let through", "At most", "Median ms", "Slowest ms"),
    )
    for drill in drills:
        table.add_row(*_cells(drill, len(urls)))
    console.print(
        f"\nThe store was frozen for {seconds:g} s, and calls of one user of each tier went on:", highlight=False
    )
    console.print(table)
    console.print(f"Decisions were exact again {back_s:.1f} s after it went on.", highlight=False)
    return [fault for drill in drills for fault in drill.faults(len(urls))]


def _cells(drill: TierDrill, sidecars: int) -> list[str]:
    bound_nanos, times = drill.bound_nanos(sidecars), sorted(drill.seconds) or [0.0]
    policy = drill.policy
    words = f"allow up to {amount_text(policy[ALLOWANCE])}" if isinstance(policy, dict) else str(policy or "-")
    return [
        drill.tier,
        words,
        str(len(drill.seconds)),
        str(drill.allowed),
        f"${cents_text(drill.allowed * COST_NANOS)}",
        "no bound" if bound_nanos is None else f"${cents_text(bound_nanos)}",
        f"{times[len(times) // 2] * 1000:.1f}",
        f"{times[-1] * 1000:.0f}",
    ]


async def _drill(urls: Sequence[str], store_pid: int, seconds: float) -> tuple[list[TierDrill], float]:
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        drills = [TierDrill(tier) for tier in await _tiers(session, urls[0])]
        with _frozen(store_pid):
            until_s = time.monotonic() + seconds
            await asyncio.gather(*[_call_on(session, urls, drill, until_s) for drill in drills])
        thawed_s = time.monotonic()
        while (await _check(session, urls[0], "drill", None))["degraded"]:  # noqa: ASYNC110 - it sends no event
            await asyncio.sleep(PAUSE_S)
        return drills, time.monotonic() - thawed_s


@contextlib.contextmanager
def _frozen(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def _tiers(session: aiohttp.ClientSession, url: str) -> list[str]:
    async with session.get(f"{url}/v1/rules") as response:
        document = await response.json()
    tiers = [rule["key"] for rule in document["rules"] if rule["kind"] == "tier_template" and rule["key"] != "*"]
    if not tiers:
        raise CommandFailed("the rules have no tier template to drill with")
    return list(dict.fromkeys(tiers))


async def _call_on(session: aiohttp.ClientSession, urls: Sequence[str], drill: TierDrill, until_s: float) -> None:
    number = 0
    while time.monotonic() < until_s:
        started = time.perf_counter()
        decision = await _check(session, urls[number % len(urls)], f"drill-{drill.tier}", drill.tier)
        drill.note(decision, time.perf_counter() - started)
        number += 1
        await asyncio.sleep(PAUSE_S)


async def _check(session: aiohttp.ClientSession, url: str, user_id: str, tier: str | None) -> dict[str, Any]:
    body = {"user_id": user_id, "tier": tier, "cost_usd": COST_NANOS / NANOS_PER_USD if tier else 0}
    async with session.post(f"{url}/v1/check", json=body) as response:
        decision: dict[str, Any] = await response.json()
        if response.status != STATUS_OK:
            raise CommandFailed(f"the sidecar answered {response.status}: {decision.get('detail')}")
        return decision
