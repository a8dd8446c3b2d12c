"""Reads what tiers have spent and how sidecars stand, every few seconds, for the metrics: a scrape asks nobody."""

import asyncio
import logging
from typing import Final

from controlplane.metrics import Metrics
from controlplane.registry import Registry
from controlplane.sidecars import SidecarBoard, Standing
from controlplane.usage import TierNow, UsageReader
from ledger.errors import StoreError
from ledger.money import usd_text

OBSERVE_INTERVAL_S: Final = 15.0
MAX_TIERS: Final = 100
"""Tiers with a template, by name: labels are bounded, whatever apps send as a tier."""

log = logging.getLogger("spendgate.controlplane")


class Observation:
    """Keeps the gauges of tiers and sidecars up to date; a silent store leaves them as they were."""

    def __init__(
        self,
        metrics: Metrics,
        registry: Registry,
        usage: UsageReader,
        board: SidecarBoard,
        *,
        interval_s: float | None = None,
    ) -> None:
        self._metrics = metrics
        self._registry = registry
        self._usage = usage
        self._board = board
        self._interval_s = OBSERVE_INTERVAL_S if interval_s is None else interval_s

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                await self.look()
            except StoreError as error:
                log.debug("tiers and sidecars could not be read: %s", error)
            await asyncio.sleep(self._interval_s)

    async def look(self) -> None:
        """Read once. Raises `StoreError`."""
        if not self._registry.is_loaded:
            return
        sidecars = await self._board.now()
        for standing in Standing:
            self._metrics.set_sidecars(standing, sidecars.count(standing))
        found = await self._usage.tiers(self._registry.book.rule_set(), has_template=True, limit=MAX_TIERS)
        self._metrics.set_tiers(total for tier in found.tiers for total in _totals(tier))


def _totals(tier: TierNow) -> list[tuple[str, str, float, int]]:
    return [(tier.tier, window.type, float(usd_text(total.spend_nanos)), total.calls) for window, total in tier.totals]
