"""The circuit breaker in front of the store: after enough failures nobody is made to wait for it any more.

Closed, every operation goes to the store. When too many of the last script runs failed it opens: operations are
answered at once by the rules' `on_store_failure`. After a pause one question (`Prober`) finds out whether the store
answers again, half-open: no caller is used as a test, and callers are answered at once meanwhile as well.
"""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ledger.errors import StoreError, StoreNotAsked, StoreUnavailable

LEAST_RUNS: Final = 5
"""So many runs are looked at before the breaker judges: one hiccup is no outage."""
MEMORY_S: Final = 10.0
"""Older runs say nothing about now; a breaker that opens again within this time goes on with its longer pauses."""
FIRST_PAUSE_SHARE: Final = 8
"""The first pause is an eighth of the longest; each one after a failed probe is twice as long as the one before."""

log = logging.getLogger("spendgate.breaker")


class BreakerState(StrEnum):
    """`half_open` is the time of a probe; callers are answered without the store in it, as in `open`."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerLimits:
    """It opens when `failure_pct` percent of the last `runs` script runs failed; it probes every `longest_pause_s`."""

    runs: int = 10
    failure_pct: int = 50
    longest_pause_s: float = 2.0


class Breaker:
    """One for each store that can fail for itself. `clock` is monotonic, in seconds; `jitter` is from 0 to 1.

    `on_change` is told every transition. `is_open` is looked at for each operation, so it is a plain attribute.
    """

    def __init__(
        self,
        limits: BreakerLimits,
        *,
        on_change: Callable[[BreakerState], None] = lambda _state: None,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.is_open = False
        self.state = BreakerState.CLOSED
        self._limits = limits
        self._on_change = on_change
        self._clock = clock
        self._jitter = jitter
        self._runs: deque[tuple[float, bool]] = deque(maxlen=limits.runs)
        self._opened = asyncio.Event()
        self._opened_s = self._closed_s = self._complained_s = float("-inf")
        self._first_pause_s = limits.longest_pause_s / FIRST_PAUSE_SHARE
        self._pause_s = self._first_pause_s

    def succeed(self) -> None:
        """Note that the store answered a script run."""
        self._runs.append((self._clock(), False))

    def fail(self, error: StoreError) -> None:
        """Note that the store did not answer; what was under way when the breaker opened changes nothing any more."""
        if self.is_open:
            return
        now_s = self._clock()
        self._runs.append((now_s, True))
        recent = [failed for at_s, failed in self._runs if at_s > now_s - MEMORY_S]
        failures = sum(recent)
        if len(recent) >= min(LEAST_RUNS, self._limits.runs) and failures * 100 >= self._limits.failure_pct * len(
            recent
        ):
            self.trip(f"{failures} of the last {len(recent)} script runs failed: {_cause(error)}")
        elif now_s - self._complained_s >= MEMORY_S:
            self._complained_s = now_s
            log.warning("the store did not answer a script run: %s", _cause(error))

    def trip(self, why: str) -> None:
        """Open, whatever was seen before: somebody knows that the store is gone."""
        if self.is_open:
            return
        now_s = self._clock()
        if now_s - self._closed_s >= MEMORY_S:
            self._pause_s = self._first_pause_s
        self._opened_s = now_s
        self._runs.clear()
        log.warning("the breaker is open (%s); the rules' on_store_failure decides until the store answers", why)
        self._change(BreakerState.OPEN)

    def check(self) -> None:
        """Raise `StoreNotAsked` while open."""
        if self.is_open:
            raise StoreNotAsked("the store has not been answering; it is not asked until a probe finds it well")

    async def opened(self) -> float:
        """Wait until the breaker is open; return how long to pause before the next probe, in seconds."""
        await self._opened.wait()
        return self._pause_s * (0.5 + self._jitter() / 2)

    def begin_probe(self) -> None:
        """Note that the one question is being asked."""
        self._change(BreakerState.HALF_OPEN)

    def end_probe(self, error: Exception | None) -> None:
        """Close after a probe that was answered; go on waiting, for longer, after one that failed."""
        self._pause_s = min(self._pause_s * 2, self._limits.longest_pause_s)
        if error is not None:
            log.debug("the store did not answer a probe: %s", _cause(error))
            self._change(BreakerState.OPEN)
            return
        self._closed_s = self._clock()
        away_s = self._closed_s - self._opened_s
        log.warning("the breaker is closed: the store answers again after %.1f s; decisions are exact", away_s)
        self._change(BreakerState.CLOSED)

    def _change(self, state: BreakerState) -> None:
        self.state = state
        self.is_open = state is not BreakerState.CLOSED
        if self.is_open:
            self._opened.set()
        else:
            self._opened.clear()
        self._on_change(state)


class Prober:
    """Asks the store behind an open breaker, one question at a time, until it answers."""

    def __init__(self, breaker: Breaker, probe: Callable[[], Awaitable[None]], *, timeout_s: float) -> None:
        self._breaker = breaker
        self._probe = probe
        self._timeout_s = timeout_s

    async def run(self) -> None:
        """Probe whenever the breaker is open, until cancelled."""
        while True:
            await asyncio.sleep(await self._breaker.opened())
            self._breaker.begin_probe()
            self._breaker.end_probe(await self._ask())

    async def _ask(self) -> Exception | None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._probe()
        except StoreError as error:
            return error
        except TimeoutError:
            return StoreUnavailable("no answer in time")
        return None


def _cause(error: Exception) -> str:
    return f"{error} ({error.__cause__})" if error.__cause__ else str(error)
