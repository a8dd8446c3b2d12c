"""The sweeper expires the holds of idle users and survives a store that is gone."""

import asyncio

import pytest

from ledger.errors import StoreUnavailable
from sidecar.breaker import LEAST_RUNS, Breaker, BreakerLimits
from sidecar.store_clock import StoreClock
from sidecar.sweeper import Sweeper
from tests.support.ledger_under_test import Caller, LedgerUnderTest, memory_under_test, nanos, rule, rules


def sweeper(book: object, **changes: object) -> Sweeper:
    """Return a sweeper over one partition."""
    settings = {"breakers": [Breaker(BreakerLimits())], "interval_s": 0.001, "on_error": lambda _code: None, **changes}
    return Sweeper(book, StoreClock(), **settings)  # type: ignore[arg-type]


async def make_due(under_test: LedgerUnderTest) -> Caller:
    """Return a caller with one hold of 4 USD past its deadline."""
    caller = Caller(under_test, rules(rule()))
    await caller.reserve(4)
    await caller.pass_time(1)
    return caller


async def test_the_hold_of_an_idle_user_is_charged() -> None:
    """Nobody asks for this user any more, and the money is counted all the same."""
    under_test = memory_under_test()
    caller = await make_due(under_test)
    assert 1 == await sweeper(under_test.ledger).sweep()
    assert (nanos(4), 0) == await caller.spent_and_held()


async def test_a_second_sweep_finds_nothing() -> None:
    """A hold expires once."""
    under_test = memory_under_test()
    await make_due(under_test)
    await sweeper(under_test.ledger).sweep()
    assert 0 == await sweeper(under_test.ledger).sweep()


async def test_a_sweep_learns_the_stores_time() -> None:
    """The sidecar's idea of the store's time stays fresh."""
    under_test = memory_under_test()
    clock = StoreClock()
    breakers = [Breaker(BreakerLimits())]
    await Sweeper(under_test.ledger, clock, breakers=breakers, interval_s=1.0, on_error=lambda _code: None).sweep()
    assert abs(clock.now_ms() - under_test.clock()) < 5_000


class Gone:
    """A store that fails a few times, then says that it was asked again."""

    def __init__(self) -> None:
        self.asked = 0
        self.again = asyncio.Event()

    async def due_users(self, _partition: int, _limit: int) -> list[str]:
        """Fail."""
        self.asked += 1
        if self.asked == 3:
            self.again.set()
        raise StoreUnavailable("gone")


async def test_a_store_that_is_gone_ends_no_sweeper() -> None:
    """It counts the failure and tries again."""
    store, codes = Gone(), []
    task = asyncio.create_task(sweeper(store, on_error=codes.append).run())
    await asyncio.wait_for(store.again.wait(), 60)
    task.cancel()
    assert {"store_unavailable"} == set(codes)


async def test_a_store_that_is_gone_opens_the_breaker_and_is_left_alone_then() -> None:
    """A sidecar without callers finds out by itself, and an open breaker's store is asked by its probe only."""
    store, breaker = Gone(), Breaker(BreakerLimits())
    gone = sweeper(store, breakers=[breaker])
    for _ in range(LEAST_RUNS):
        with pytest.raises(StoreUnavailable):
            await gone.sweep()
    assert (True, 0, LEAST_RUNS) == (breaker.is_open, await gone.sweep(), store.asked)
