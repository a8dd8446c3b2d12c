"""Tells the store, and so the operator, that this sidecar lives, which rules it has, and how the store answers it."""

import asyncio
import logging
import secrets
import socket
import time
from contextlib import suppress
from typing import Final

from ledger.errors import StoreError
from ledger.heartbeats import HEARTBEAT_INTERVAL_S, Heartbeats, SidecarReport
from ledger.rules import RuleSet
from sidecar.metrics import Metrics
from sidecar.rule_cache import RuleCache

LEAST_PAUSE_S: Final = 0.1
"""Between two reports, however fast the rules change."""
FAREWELL_S: Final = 1.0

log = logging.getLogger("spendgate.heartbeat")


class Heartbeat:
    """Reports every 5 seconds, and at once when other rules come into force, or an outage begins or ends.

    A store that is silent is no matter: what happened meanwhile is told once it listens.
    """

    def __init__(
        self, heartbeats: Heartbeats, cache: RuleCache, metrics: Metrics, *, version: str, rules_source: str
    ) -> None:
        self.sidecar_id = f"sidecar-{secrets.token_hex(8)}"
        self._heartbeats = heartbeats
        self._cache = cache
        self._metrics = metrics
        self._version = version
        self._rules_source = rules_source
        self._host = socket.gethostname()
        self._started_ms = int(time.time() * 1000)
        self._changed = asyncio.Event()
        self._failures_told = metrics.store_failures
        self._arrived = True
        cache.on_change(self._notice)
        metrics.condition.on_change = self._changed.set

    def report(self) -> SidecarReport:
        """Return what there is to say now."""
        condition = self._metrics.condition
        return SidecarReport(
            id=self.sidecar_id,
            version=self._version,
            host=self._host,
            revision=self._cache.current.revision,
            epoch=self._cache.position.epoch,
            store_ok=self._arrived and self._metrics.store_failures == self._failures_told,
            started_ms=self._started_ms,
            rules_source=self._rules_source,
            breaker_open=condition.open_breakers > 0,
            recovering=condition.is_recovering,
            journal_pending=condition.journal_pending,
            degraded_decisions=condition.degraded_decisions,
            degraded_ms=condition.degraded_ms,
        )

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            await self._beat()
            await asyncio.sleep(LEAST_PAUSE_S)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), HEARTBEAT_INTERVAL_S - LEAST_PAUSE_S)

    async def stop(self) -> None:
        """Say that this sidecar ends, if the store listens; else it is forgotten after a day."""
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                await self._heartbeats.withdraw(self.sidecar_id)

    async def _beat(self) -> None:
        self._changed.clear()
        failures = self._metrics.store_failures
        try:
            await self._heartbeats.report(self.report())
        except StoreError as error:
            log.debug("the store did not take the report: %s", error)
            self._arrived = False
            return
        self._arrived, self._failures_told = True, failures

    def _notice(self, _rule_set: RuleSet) -> None:
        self._changed.set()
