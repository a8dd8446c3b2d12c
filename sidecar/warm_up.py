"""Before the first caller: opens the lanes' connections, has the store load the programs, and learns the store's time.

Else the first decisions would pay for it out of their own timeouts; a busy machine would answer them without the store.
"""

import asyncio
import logging
from typing import Final, Protocol

from ledger.errors import StoreError, StoreUnavailable
from sidecar.enforcer import Lanes
from sidecar.store_clock import StoreClock

WITHIN_S: Final = 1.0
"""A start waits so long, or as long as for one command: a sidecar serves without its store as well."""
PAUSE_S: Final = 0.02

log = logging.getLogger("spendgate.store")


class Warmed(Protocol):
    """What is warmed: `ledger.redis_ledger.RedisLedger`."""

    async def warm(self, partition: int) -> None:
        """Run each program of decisions once; raises `StoreError`."""
        ...

    async def store_time_ms(self) -> int:
        """Return the store's time; raises `StoreError`."""
        ...


async def warm_up(ledger: Warmed, clock: StoreClock, lanes: Lanes, *, within_s: float = WITHIN_S) -> None:
    """Make the first decision as quick as the next, behind every breaker that is closed; never fails, never hangs."""
    breakers = dict.fromkeys(lanes.breakers)
    partitions = [number for number, breaker in enumerate(breakers) if not breaker.is_open]
    try:
        async with asyncio.timeout(within_s):
            for partition in partitions:
                await _warm(ledger, clock, partition)
    except TimeoutError:
        log.info("the store was slow at the start; the first decisions may be as well")


async def _warm(ledger: Warmed, clock: StoreClock, partition: int) -> None:
    """Ask until there is an answer; one that refuses would refuse again."""
    while True:
        try:
            await ledger.warm(partition)
            clock.observe(await ledger.store_time_ms())
        except StoreError as error:
            log.debug("the store could not be warmed up: %s", error)
            if error.code == StoreUnavailable.code:
                await asyncio.sleep(PAUSE_S)
                continue
        return
