"""The lane in front of a script: batches, order, bounds, deadlines."""

import asyncio
import contextlib
import gc
import weakref
from collections.abc import Sequence

import pytest

from ledger.errors import StoreFull, StoreNotAsked, StoreOverloaded, StoreUnavailable
from sidecar.breaker import LEAST_RUNS, Breaker, BreakerLimits
from sidecar.coalescer import Lane, LaneLimits
from tests.support.loop_clock import LoopClock


class Store:
    """A script that answers when it is told to, and remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.error: Exception | None = None

    async def run(self, operations: Sequence[int]) -> list[str]:
        """Answer each operation by its number."""
        self.batches.append(list(operations))
        await self.gate.wait()
        if self.error is not None and (len(operations) > 1 or operations[0] == 0):
            raise self.error
        return [f"answer {operation}" for operation in operations]


def make_lane(store: Store, breaker: Breaker | None = None, **changes: float) -> "Lane[int, str]":
    """Return a lane with small bounds."""
    limits = {"max_batch": 4, "max_queue": 8, "command_timeout_s": 60.0, "deadline_s": 60.0, **changes}
    return Lane(store.run, LaneLimits(**limits), lambda _size, _seconds: None, breaker or Breaker(BreakerLimits()))  # type: ignore[arg-type]


async def test_operations_of_one_turn_go_together() -> None:
    """What arrives before the loop turns is one script run."""
    store = Store()
    lane = make_lane(store)
    answers = await asyncio.gather(*[lane.submit(number) for number in range(3)])
    assert ["answer 0", "answer 1", "answer 2"] == answers
    assert [[0, 1, 2]] == store.batches


async def test_a_batch_is_bounded_and_keeps_order() -> None:
    """More than a batch holds goes in several, in the order of arrival."""
    store = Store()
    lane = make_lane(store, max_queue=100)
    await asyncio.gather(*[lane.submit(number) for number in range(10)])
    assert list(range(10)) == [number for batch in store.batches for number in batch]
    assert 4 == max(len(batch) for batch in store.batches)


async def test_a_full_queue_refuses_at_once() -> None:
    """Beyond the bound nothing is queued and the caller knows."""
    store = Store()
    lane = make_lane(store, max_queue=2)
    waiting = [lane.submit(1), lane.submit(2)]
    with pytest.raises(StoreOverloaded):
        lane.submit(3)
    assert ["answer 1", "answer 2"] == await asyncio.gather(*waiting)


async def test_an_operation_fails_at_its_deadline_whatever_the_store_does() -> None:
    """A store that never answers does not hold a caller beyond the deadline."""
    store = Store()
    store.gate.clear()
    lane = make_lane(store, deadline_s=0.02)
    with pytest.raises(StoreUnavailable):
        await lane.submit(1)
    store.gate.set()
    await lane.drain()


async def test_a_store_that_clings_to_its_runs_holds_nobody_either(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each operation has its deadline, also one that was asked after another, and while that one waited."""
    runs: list[list[int]] = []

    async def cling(operations: Sequence[int]) -> list[str]:
        runs.append(list(operations))
        while operations[0] > 0 and not let_go.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await let_go.wait()
        return [str(operation) for operation in operations]

    let_go, clock = asyncio.Event(), LoopClock(monkeypatch)
    limits = LaneLimits(max_batch=4, max_queue=8, command_timeout_s=5.0, deadline_s=0.02)
    lane: Lane[int, str] = Lane(cling, limits, lambda _size, _seconds: None, Breaker(BreakerLimits()))
    assert "0" == await lane.submit(0)
    first = lane.submit(1)
    await clock.move(0.01)
    second = lane.submit(2)
    ended = []
    for seconds in (0.009, 0.002, 0.01):
        await clock.move(seconds)
        ended.append((first.done(), second.done()))
    let_go.set()
    await lane.drain()
    assert [(False, False), (True, False), (True, True)] == ended
    assert [StoreUnavailable] * 2 == [type(asked.exception()) for asked in (first, second)]
    assert [[0], [1], [2]] == runs


async def test_an_answer_is_let_go_of_long_before_its_deadline() -> None:
    """Thousands of answers a second must not be kept until a deadline that nobody waits for."""
    store = Store()
    lane = make_lane(store, deadline_s=600.0)
    asked = [lane.submit(number) for number in range(3)]
    kept = [weakref.ref(future) for future in asked]
    while asked:
        await asked.pop()
    await lane.drain()
    await asyncio.sleep(0)  # The loop itself has the future by which it has just woken this test.
    gc.collect()
    assert [None] * 3 == [reference() for reference in kept]


async def test_a_timed_out_batch_fails_those_that_wait_behind_it() -> None:
    """They would wait for the same silent store."""
    store = Store()
    store.gate.clear()
    lane = make_lane(store, command_timeout_s=0.02, max_batch=1, max_queue=10)
    results = await asyncio.gather(*[lane.submit(number) for number in range(6)], return_exceptions=True)
    # Two were under way and may have landed; the others were never sent, and say so.
    assert [StoreUnavailable] * 2 + [StoreNotAsked] * 4 == [type(result) for result in results]
    assert 0 == lane.depth


async def test_an_open_breaker_lets_nothing_into_the_lane() -> None:
    """Nothing is queued, sent or waited for; what waited already is answered as well."""
    store, breaker = Store(), Breaker(BreakerLimits())
    store.gate.clear()
    lane = make_lane(store, breaker, max_batch=1)
    under_way = [lane.submit(number) for number in range(3)]
    while len(store.batches) < 2:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0)
    breaker.trip("told so")
    with pytest.raises(StoreNotAsked):
        lane.submit(3)
    store.gate.set()
    results = await asyncio.gather(*under_way, return_exceptions=True)
    assert ["answer 0", "answer 1", StoreNotAsked] == [*results[:2], type(results[2])]
    assert [[0], [1]] == store.batches


async def test_a_run_never_takes_longer_than_its_callers_wait() -> None:
    """The breaker learns of a frozen store after a deadline, even where a command may take longer than that."""
    store, breaker = Store(), Breaker(BreakerLimits())
    store.gate.clear()
    lane = make_lane(store, breaker, deadline_s=0.01, command_timeout_s=60.0)
    for number in range(LEAST_RUNS):
        with pytest.raises(StoreUnavailable):
            await lane.submit(number)
        await lane.drain()
    assert breaker.is_open


async def test_a_store_that_refuses_opens_no_breaker() -> None:
    """It answers: one user's broken key, or a full memory, must not keep the others from being decided exactly."""
    store, breaker = Store(), Breaker(BreakerLimits())
    lane = make_lane(store, breaker)
    for error in (StoreUnavailable("WRONGTYPE", code="store_error"), StoreFull("maxmemory")):
        store.error = error
        await asyncio.gather(*[lane.submit(0) for _ in range(LEAST_RUNS)], return_exceptions=True)
    assert not breaker.is_open


async def test_a_cancelled_caller_shifts_no_answer() -> None:
    """The others still get their own answers."""
    store = Store()
    store.gate.clear()
    lane = make_lane(store)
    first, second, third = [lane.submit(number) for number in (1, 2, 3)]
    await asyncio.sleep(0)
    second.cancel()
    store.gate.set()
    assert ["answer 1", "answer 3"] == [await first, await third]


async def test_one_refused_operation_does_not_fail_its_batch() -> None:
    """A batch that the store refuses as a whole is repeated one by one."""
    store = Store()
    store.error = StoreUnavailable("WRONGTYPE", code="store_error")
    lane = make_lane(store)
    results = await asyncio.gather(*[lane.submit(number) for number in range(3)], return_exceptions=True)
    assert [StoreUnavailable, str, str] == [type(result) for result in results]


async def test_an_unreadable_answer_fails_its_callers() -> None:
    """A bug in reading an answer must not leave anybody waiting."""
    store = Store()
    store.error = ValueError("what is this")
    lane = make_lane(store)
    results = await asyncio.gather(lane.submit(1), lane.submit(2), return_exceptions=True)
    assert {StoreUnavailable} == {type(result) for result in results}


async def test_draining_answers_everything() -> None:
    """A stop waits for what was accepted."""
    store = Store()
    lane = make_lane(store, max_queue=100)
    futures = [lane.submit(number) for number in range(20)]
    await asyncio.sleep(0)
    await lane.drain()
    assert all(future.done() for future in futures)


async def test_what_arrives_as_a_batch_ends_does_not_wait_for_the_other_one() -> None:
    """A place that is free is used at once; catches a lane that looks only when nothing is under way."""
    gates = [asyncio.Event(), asyncio.Event(), asyncio.Event()]
    gates[2].set()
    begun: list[list[int]] = []

    async def run(operations: Sequence[int]) -> list[str]:
        begun.append(list(operations))
        await gates[operations[0]].wait()
        return [f"answer {operation}" for operation in operations]

    limits = LaneLimits(max_batch=1, max_queue=8, command_timeout_s=60.0, deadline_s=60.0)
    lane = Lane(run, limits, lambda _n, _s: None, Breaker(BreakerLimits()))
    slow, quick = lane.submit(0), lane.submit(1)
    while len(begun) < 2:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0)
    third: list[asyncio.Future[str]] = []
    quick.add_done_callback(lambda _quick: third.append(lane.submit(2)))
    gates[1].set()
    await quick
    async with asyncio.timeout(60):
        assert "answer 2" == await third[0]
    assert not slow.done()
    gates[0].set()
    await slow
