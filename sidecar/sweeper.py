"""The sweeper: expires due holds of idle users, keeps the store's time, trims old events, watches the loop's lag.

Every sidecar sweeps; two that meet do no harm, because a hold expires once.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from ledger.decisions import Operation
from ledger.errors import StoreError, StoreUnavailable
from ledger.operations import Ledger, Resolution
from sidecar.breaker import Breaker
from sidecar.store_clock import StoreClock

MAX_USERS_A_SWEEP: Final = 500
ANSWER_S: Final = 1.0
"""How long the sweeper waits for one answer of the store; nobody else bounds it."""

Answer = TypeVar("Answer")

log = logging.getLogger("spendgate.sweeper")


class Sweeper:
    """Runs one sweep an interval over all partitions, each after a random share of it.

    `breakers` are those of the partitions, in order: one that is open is left alone, and one is told of a store that
    does not answer the sweeper, so that the first caller after a quiet time does not have to find out.
    """

    def __init__(
        self,
        ledger: Ledger,
        clock: StoreClock,
        *,
        breakers: Sequence[Breaker],
        interval_s: float,
        on_error: Callable[[str], None],
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._breakers = breakers
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
                self._fail(error)

    async def sweep(self) -> int:
        """Resolve due holds once; returns how many users were swept."""
        swept = 0
        if all(breaker.is_open for breaker in self._breakers):
            return swept
        for partition, breaker in enumerate(self._breakers):
            if breaker.is_open:
                continue
            try:
                swept += await self._sweep(partition)
            except StoreError as error:
                breaker.fail(error)
                raise
        self._clock.observe(await _bounded(self._ledger.store_time_ms()))
        if self._is_failing:
            log.warning("the store answers the sweeper again")
        self._is_failing = False
        return swept

    async def _sweep(self, partition: int) -> int:
        """Sweep one partition."""
        swept = 0
        for user_id in await _bounded(self._ledger.due_users(partition, MAX_USERS_A_SWEEP)):
            swept += await self._expire(user_id)
        await _bounded(self._ledger.trim_events(partition))
        return swept

    async def _expire(self, user_id: str) -> bool:
        """Resolve one user's due holds in a script of their own: a broken user must not stop the sweep."""
        try:
            await _bounded(self._ledger.resolve([Resolution(operation=Operation.EXPIRE, user_id=user_id)]))
        except StoreError as error:
            if error.code != "store_error":
                raise
            self._on_error(error.code)
            log.error("holds of a user cannot be expired: %s (%s)", error, error.__cause__)  # noqa: TRY400 - no trace
            return False
        return True

    def _fail(self, error: StoreError) -> None:
        self._on_error(error.code)
        if not self._is_failing:
            log.warning("the store does not answer the sweeper: %s", error)
        self._is_failing = True


async def _bounded(answer: Awaitable[Answer]) -> Answer:
    try:
        async with asyncio.timeout(ANSWER_S):
            return await answer
    except TimeoutError:
        raise StoreUnavailable("the store did not answer in time") from None
