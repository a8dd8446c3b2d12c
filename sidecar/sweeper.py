"""The sweeper: expires due holds of idle users, keeps the store's time, trims old events, watches the loop's lag.

Every sidecar sweeps; two that meet do no harm, because a hold expires once.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Final

from ledger.decisions import Operation
from ledger.errors import StoreError
from ledger.operations import Ledger, Resolution
from sidecar.store_clock import StoreClock

MAX_USERS_A_SWEEP: Final = 500
USERS_A_SCRIPT: Final = 16

log = logging.getLogger("spendgate.sweeper")


class Sweeper:
    """Runs one sweep an interval over all partitions, each after a random share of it."""

    def __init__(
        self,
        ledger: Ledger,
        clock: StoreClock,
        *,
        partitions: int,
        interval_s: float,
        on_error: Callable[[str], None],
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._partitions = partitions
        self._interval_s = interval_s
        self._on_error = on_error
        self._is_failing = False

    async def run(self) -> None:
        """Sweep until cancelled; an unreachable store is logged once, and again when it is back."""
        while True:
            await asyncio.sleep(self._interval_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret
            try:
                await self.sweep()
            except StoreError as error:
                self._on_error(error.code)
                if not self._is_failing:
                    log.warning("the store does not answer the sweeper: %s", error)
                self._is_failing = True
            else:
                if self._is_failing:
                    log.warning("the store answers the sweeper again")
                self._is_failing = False

    async def sweep(self) -> int:
        """Resolve due holds once; returns how many users were swept."""
        self._clock.observe(await self._ledger.store_time_ms())
        swept = 0
        for partition in range(self._partitions):
            users = await self._ledger.due_users(partition, MAX_USERS_A_SWEEP)
            for start in range(0, len(users), USERS_A_SCRIPT):
                few = users[start : start + USERS_A_SCRIPT]
                await self._ledger.resolve([Resolution(operation=Operation.EXPIRE, user_id=user) for user in few])
            await self._ledger.trim_events(partition)
            swept += len(users)
        return swept
