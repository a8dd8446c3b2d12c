"""Makes the store known at start and after an outage, and looks again and again whether it is safe for money."""

import asyncio
import logging
from contextlib import suppress
from typing import Final

from ledger.connection import StoreTimeouts, claim_partitions, connect
from ledger.errors import StoreError
from ledger.store_checks import Finding, check_store
from sidecar.metrics import Metrics
from sidecar.settings import Settings

RETRY_INTERVAL_S: Final = 1.0
RECHECK_INTERVAL_S: Final = 60.0
LEAST_TIMEOUT_MS: Final = 1000
"""More patient than a decision: nobody waits for these questions. A store that may take longer for one may here too."""

log = logging.getLogger("spendgate.store")


class StoreWatch:
    """Asks the store what it is like: each fault is logged when it comes and when it goes, and shown as a metric."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._timeouts = StoreTimeouts(
            connect_ms=max(LEAST_TIMEOUT_MS, settings.connect_timeout_ms),
            command_ms=max(LEAST_TIMEOUT_MS, settings.command_timeout_ms),
        )
        self._known: set[Finding] = set()

    async def greet(self) -> bool:
        """Claim the partitions and look for the first time; False if the store does not answer.

        Raises `PartitionMismatch` and `WrongTopology`: a sidecar that looks for users elsewhere must not serve.
        """
        client = connect(self._settings.redis_url, self._timeouts)
        try:
            await claim_partitions(client, self._settings.workspace, self._settings.partitions)
            self._note(await check_store(client))
        except StoreError as error:
            log.debug("the store was not greeted: %s", error)
            return False
        finally:
            await client.aclose()
        return True

    async def run(self, *, greeted: bool) -> None:
        """Go on until the store was greeted, and then look once a minute, until cancelled."""
        while not greeted:
            await asyncio.sleep(RETRY_INTERVAL_S)
            greeted = await self.greet()
            if greeted:
                log.info("the store answers, and was greeted")
        while True:
            await asyncio.sleep(RECHECK_INTERVAL_S)
            await self.look()

    async def look(self) -> None:
        """Look once more; a store that does not answer leaves what was known."""
        client = connect(self._settings.redis_url, self._timeouts)
        try:
            with suppress(StoreError):
                self._note(await check_store(client))
        finally:
            await client.aclose()

    def _note(self, found: list[Finding]) -> None:
        now = set(found)
        for finding in sorted(now - self._known):
            log.warning("%s", finding)
        for finding in sorted(self._known - now):
            log.warning("no more: %s", finding)
        self._known = now
        self._metrics.set_store_unsafe({str(finding.reason) for finding in now if finding.is_unsafe})
