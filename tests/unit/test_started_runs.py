"""The lane in front of a script, where a batch can be sent at once: no task, and still every bound."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from ledger.errors import StoreError, StoreNotAsked, StoreUnavailable
from sidecar.breaker import LEAST_RUNS, Breaker, BreakerLimits
from sidecar.coalescer import GiveUp, Lane, LaneLimits, Told
from tests.support.loop_clock import LoopClock

Tell = Callable[[Told[str]], None]


class Wire:
    """Sends at once while it `can_start`, else through `run`; the test says what comes back."""

    def __init__(self) -> None:
        self.can_start = True
        self.started: list[tuple[list[int], Tell]] = []
        self.ran: list[list[int]] = []
        self.given_up: list[BaseException] = []

    def start(self, operations: Sequence[int], tell: Tell) -> GiveUp | None:
        """Note who is to be told."""
        if not self.can_start:
            return None
        self.started.append((list(operations), tell))
        return self.given_up.append

    async def run(self, operations: Sequence[int]) -> list[str]:
        """Answer each operation by its number; refuse 0, and batches with it."""
        self.ran.append(list(operations))
        if 0 in operations:
            raise StoreUnavailable("WRONGTYPE", code="store_error")
        return [f"ran {operation}" for operation in operations]


def make_lane(wire: Wire, breaker: Breaker | None = None, **changes: float) -> "Lane[int, str]":
    """Return a lane with small bounds."""
    limits = {"max_batch": 4, "max_queue": 100, "command_timeout_s": 60.0, "deadline_s": 60.0, **changes}
    breaker = breaker or Breaker(BreakerLimits())
    return Lane(wire.run, LaneLimits(**limits), lambda _size, _seconds: None, breaker, start=wire.start)  # type: ignore[arg-type]


async def told(wire: Wire, number: int = 0) -> Tell:
    """Turn the loop until a run was sent, and return who is to be told."""
    async with asyncio.timeout(60):
        while len(wire.started) <= number:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0)
    return wire.started[number][1]


async def test_a_started_run_takes_no_task() -> None:
    """Its answers are told where they are read."""
    wire, heard = Wire(), list[str | StoreError]()
    lane, before = make_lane(wire), asyncio.all_tasks()
    for number in (1, 2):
        lane.ask(number, heard.append)
    tell = await told(wire)
    assert before == asyncio.all_tasks()
    tell(["one", "two"])
    assert ["one", "two"] == heard
    assert [[1, 2]] == [operations for operations, _ in wire.started]
    await lane.drain()


async def test_what_waits_is_sent_before_callers_are_served() -> None:
    """The store has work meanwhile."""
    wire, order = Wire(), list[str]()
    lane = make_lane(wire, max_batch=1)
    for number in range(3):
        lane.ask(number, lambda answer: order.append(f"{answer} with {len(wire.started)} sent"))
    await told(wire, 1)
    wire.started[0][1](["first"])
    await told(wire, 2)
    await asyncio.sleep(0)
    assert ["first with 3 sent"] == order


async def test_a_silent_run_is_given_up_in_time() -> None:
    """Its callers are told, and those behind it; what it answers later is told to nobody."""
    wire, breaker, heard = Wire(), Breaker(BreakerLimits()), list[str | StoreError]()
    lane = make_lane(wire, breaker, max_batch=1, command_timeout_s=0.02)
    for number in range(4):
        lane.ask(number, heard.append)
    await asyncio.wait_for(lane.drain(), 60)
    assert 4 == len(heard)
    assert {StoreUnavailable, StoreNotAsked} == {type(answer) for answer in heard}
    assert [TimeoutError] * 2 == [type(error) for error in wire.given_up]
    for _, tell in wire.started:
        tell(["too late"])
    assert 4 == len(heard)
    assert 0 == lane.depth


async def test_silence_opens_the_breaker() -> None:
    """As it does for runs that take a task."""
    wire, breaker = Wire(), Breaker(BreakerLimits())
    lane = make_lane(wire, breaker, command_timeout_s=0.01)
    for number in range(LEAST_RUNS):
        with pytest.raises(StoreUnavailable):
            await lane.submit(number)
    assert breaker.is_open


async def test_each_run_has_its_whole_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """One timer watches all of them; catches one that gives up a run because an earlier one was due."""
    wire, heard, clock = Wire(), list[str | StoreError](), LoopClock(monkeypatch)
    lane = make_lane(wire, command_timeout_s=0.2)
    lane.ask(1, heard.append)
    (await told(wire))(["one"])
    await clock.move(0.12)
    lane.ask(2, heard.append)
    tell = await told(wire, 1)
    await clock.move(0.12)
    assert [] == wire.given_up
    tell(["two"])
    assert ["one", "two"] == heard


async def test_what_cannot_be_sent_at_once_is_run() -> None:
    """A connection has to be made, or a replica waited for."""
    wire = Wire()
    wire.can_start = False
    lane = make_lane(wire)
    assert ["ran 1", "ran 2"] == await asyncio.gather(lane.submit(1), lane.submit(2))
    assert [[1, 2]] == wire.ran


async def test_a_run_may_take_more_than_one_reply() -> None:
    """A program that must be loaded first, a connection that was lost: what is left to do is awaited."""
    wire = Wire()
    lane = make_lane(wire)
    asked = lane.submit(1)

    async def rest() -> list[str]:
        await asyncio.sleep(0)
        return ["in the end"]

    (await told(wire))(rest)
    assert "in the end" == await asked


def _failing(error: Exception) -> Callable[[], Awaitable[list[str]]]:
    async def fail() -> list[str]:
        raise error

    return fail


async def test_a_refused_batch_is_repeated_one_by_one() -> None:
    """One broken key must not fail the others, however the batch was sent."""
    wire = Wire()
    lane = make_lane(wire)
    asked = [lane.submit(number) for number in range(3)]
    (await told(wire))(_failing(StoreUnavailable("WRONGTYPE", code="store_error")))
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert [StoreUnavailable, str, str] == [type(result) for result in results]
    assert [[0], [1], [2]] == wire.ran


async def test_an_unreadable_answer_fails_its_callers() -> None:
    """A bug in reading an answer must not leave anybody waiting."""
    wire = Wire()
    lane = make_lane(wire)
    asked = lane.submit(1)
    (await told(wire))(_failing(ValueError("what is this")))
    with pytest.raises(StoreUnavailable):
        await asked
    await lane.drain()


async def test_a_run_that_cannot_be_made_fails_its_callers() -> None:
    """And leaves the lane to the others."""

    def broken(_operations: Sequence[int], _tell: Tell) -> GiveUp | None:
        raise ValueError("no such thing")

    wire = Wire()
    limits = LaneLimits(max_batch=4, max_queue=8, command_timeout_s=60.0, deadline_s=60.0)
    lane: Lane[int, str] = Lane(wire.run, limits, lambda _n, _s: None, Breaker(BreakerLimits()), start=broken)
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await lane.submit(1)
    await lane.drain()


async def test_a_cancelled_caller_is_not_sent_for() -> None:
    """Whoever has gone before the turn ends costs the store nothing."""
    wire = Wire()
    lane = make_lane(wire)
    gone, there = lane.submit(1), lane.submit(2)
    gone.cancel()
    (await told(wire))(["two"])
    assert "two" == await there
    assert [[2]] == [operations for operations, _ in wire.started]


async def test_a_caller_that_fails_costs_the_others_nothing() -> None:
    """Each hears its answer."""
    wire, heard = Wire(), list[str | StoreError]()
    lane = make_lane(wire)

    def fail(_answer: str | StoreError) -> None:
        raise RuntimeError("a bug")

    lane.ask(1, fail)
    lane.ask(2, heard.append)
    (await told(wire))(["one", "two"])
    assert ["two"] == heard


async def test_a_drain_ends_when_what_waited_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The only run is silent, and takes what has just arrived behind it along."""
    wire, heard, clock = Wire(), list[str | StoreError](), LoopClock(monkeypatch)
    lane = make_lane(wire, command_timeout_s=0.02)
    lane.ask(1, heard.append)
    await told(wire)
    give_up = wire.given_up.append

    def arrive(error: BaseException) -> None:
        give_up(error)
        lane.ask(2, heard.append)

    lane._runs[0].give_up = arrive
    drained = asyncio.create_task(lane.drain())
    await clock.move(0.03)
    assert drained.done()
    assert [StoreUnavailable, StoreNotAsked] == [type(answer) for answer in heard]
