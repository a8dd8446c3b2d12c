"""Waiting until sidecars have brought their journals to the store."""

import asyncio
import re
from collections.abc import Sequence

from tests.support.apps import open_session
from tests.support.processes import SidecarProcess

QUIET_WITHIN_S = 60.0
QUIET_FOR_S = 2.0
"""Four times as long as a sidecar takes to look."""


async def metric(sidecar: SidecarProcess, name: str) -> float:
    """Return the sum of a metric of a sidecar over its labels."""
    async with open_session() as session, session.get(f"{sidecar.admin_url}/metrics") as response:
        text = await response.text()
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text, re.MULTILINE))


async def replayed(sidecars: Sequence[SidecarProcess]) -> int:
    """Return how many operations the sidecars have brought to the store again."""
    return int(sum([await metric(sidecar, "spendgate_journal_replayed_total") for sidecar in sidecars]))


async def until_quiet(sidecars: Sequence[SidecarProcess]) -> None:
    """Wait until no sidecar has anything that the store has not acknowledged, or is making good what was lost.

    They have to stay so for a while: one that has not looked at the store since it lost its data does not know it yet.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(QUIET_WITHIN_S):
        since_s = loop.time()
        while loop.time() - since_s < QUIET_FOR_S:
            if not all([await _is_quiet(sidecar) for sidecar in sidecars]):
                since_s = loop.time()
            await asyncio.sleep(0.05)


async def _is_quiet(sidecar: SidecarProcess) -> bool:
    names = ("spendgate_journal_pending_records", "spendgate_recovering")
    return not any([await metric(sidecar, name) for name in names])
