"""What a sidecar does before its first caller: it asks the store once, learns its time, and is never held up by it."""

import asyncio

from ledger.errors import StoreUnavailable
from sidecar.breaker import Breaker, BreakerLimits
from sidecar.enforcer import Lanes
from sidecar.store_clock import StoreClock
from sidecar.warm_up import warm_up

STORE_MS = 1_000_000


class Store:
    """A store that answers with its `failures` first, and hangs for ever if it `hangs`."""

    def __init__(self, *failures: StoreUnavailable, hangs: bool = False) -> None:
        self.warmed: list[int] = []
        self._failures = list(failures)
        self._hangs = hangs

    async def warm(self, partition: int) -> None:
        """Answer, or not."""
        self.warmed.append(partition)
        if self._hangs:
            await asyncio.Event().wait()
        if self._failures:
            raise self._failures.pop(0)

    async def store_time_ms(self) -> int:
        """Return a time that no clock here has."""
        return STORE_MS


def _lanes(*breakers: Breaker) -> Lanes:
    return Lanes(partition_of=lambda _: 0, admit=[], resolve=[], breakers=breakers)


def _breaker() -> Breaker:
    return Breaker(BreakerLimits())


def _clock() -> StoreClock:
    return StoreClock(wall_ms=lambda: 5_000.0, monotonic_ms=lambda: 0.0)


async def test_the_stores_time_is_known_before_the_first_caller() -> None:
    """A wall clock that is behind would have the first plan refused."""
    clock, store = _clock(), Store()
    await warm_up(store, clock, _lanes(_breaker()))
    assert (STORE_MS, [0]) == (clock.now_ms(), store.warmed)


async def test_partitions_with_one_breaker_share_their_connections() -> None:
    """One is asked for all of them."""
    store, shared = Store(), _breaker()
    await warm_up(store, _clock(), _lanes(shared, shared, shared))
    assert [0] == store.warmed


async def test_a_store_behind_an_open_breaker_is_left_alone() -> None:
    """It did not answer the greeting; its probe asks."""
    store, gone, well = Store(), _breaker(), _breaker()
    gone.trip("the test says so")
    await warm_up(store, _clock(), _lanes(gone, well))
    assert [1] == store.warmed


async def test_a_store_that_stumbles_is_asked_again() -> None:
    """A connection that did not open in time opens the next time."""
    store = Store(StoreUnavailable("no answer"), StoreUnavailable("no answer"))
    await warm_up(store, _clock(), _lanes(_breaker()), within_s=60.0)
    assert [0, 0, 0] == store.warmed


async def test_a_store_that_refuses_is_asked_once() -> None:
    """Its answer would be the same again; the start goes on."""
    store = Store(StoreUnavailable("no", code="store_error"))
    await warm_up(store, _clock(), _lanes(_breaker()))
    assert [0] == store.warmed


async def test_a_store_that_hangs_does_not_hold_up_the_start() -> None:
    """The sidecar serves all the same."""
    store = Store(hangs=True)
    await warm_up(store, _clock(), _lanes(_breaker()), within_s=0.01)
    assert [0] == store.warmed
