"""Joins operations that arrive in one turn of the event loop into one script run, in order, without waiting for more.

A lane has at most two scripts under way, in order on one connection: while the store works on one, this process reads
the answers of the other. What arrives meanwhile goes together in the next, so batches grow with the load and only then.

A run that only has to be sent and read takes no task and no timer of its own (docs/decisions/0067); others take both.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, TypeVar

from ledger.errors import StoreError, StoreNotAsked, StoreOverloaded, StoreUnavailable
from sidecar.asked import Asked, answer_all, settle
from sidecar.breaker import Breaker

Operation = TypeVar("Operation")
Answer = TypeVar("Answer")


IN_FLIGHT: Final = 2
SMALL_BATCH: Final = 12
SHARE: Final = 4
"""A batch takes a quarter of what waits or is under way, and at least twelve. The store answers what it has read
together at once, so that one large batch and this process would take turns idling; small ones keep both at work
(docs/decisions/0005)."""

Told = list[Answer] | Callable[[], Awaitable[list[Answer]]]
"""The answers of a run, in order; or what gets them, because it took more than one reply."""
GiveUp = Callable[[BaseException], None]
"""Ends the wait for a run that was sent; what it answers later is told to nobody."""
Start = Callable[[Sequence[Operation], Callable[[Told[Answer]], None]], GiveUp | None]

log = logging.getLogger("spendgate.lane")


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneLimits:
    """Bounds of a lane: operations in one script, operations waiting, and seconds."""

    max_batch: int
    max_queue: int
    command_timeout_s: float
    deadline_s: float


class _Run(Generic[Operation, Answer]):
    """A batch that was sent: since when, by the performance counter, and until when it may take, by the loop's time.

    `give_up` is there while it needs no task.
    """

    __slots__ = ("batch", "due_s", "give_up", "started_s")

    def __init__(self, batch: "list[Asked[Operation, Answer]]", due_s: float) -> None:
        self.batch = batch
        self.started_s = time.perf_counter()
        self.due_s = due_s
        self.give_up: GiveUp | None = None


class Lane(Generic[Operation, Answer]):
    """One queue in front of one script of one partition.

    `run` takes a batch and returns its answers in order. `start` sends one at once, calls back with what it is told,
    and returns how to give it up; it returns None, and has done nothing, if that takes more than sending: then `run`
    does it. `observe` is told of every run: operations and seconds. The breaker is told whether the store answered;
    while it is open nothing is queued or sent.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Operation]], Awaitable[list[Answer]]],
        limits: LaneLimits,
        observe: Callable[[int, float], None],
        breaker: Breaker,
        *,
        start: Start[Operation, Answer] = lambda _operations, _tell: None,
    ) -> None:
        self._run = run
        self._start = start
        self._limits = limits
        # After a whole deadline nobody waits for a run any more.
        self._run_limit_s = min(limits.command_timeout_s, limits.deadline_s)
        self._observe = observe
        self._breaker = breaker
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Asked[Operation, Answer]] = deque()
        self._asked: deque[Asked[Operation, Answer]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._is_turn_open = False
        self._runs: list[_Run[Operation, Answer]] = []
        self._run_timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._drained: asyncio.Future[None] | None = None

    @property
    def depth(self) -> int:
        """How many operations wait."""
        return len(self._queue)

    def submit(self, operation: Operation) -> "asyncio.Future[Answer]":
        """Queue an operation. The future fails with `StoreError` at the latest after the deadline.

        Raises `StoreNotAsked` at once while the breaker is open, and `StoreOverloaded` when the queue is full; then
        nothing was sent.
        """
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._add(operation, partial(settle, future), future)
        return future

    def ask(self, operation: Operation, tell: Callable[[Answer | StoreError], None]) -> None:
        """Queue an operation as `submit` does; `tell` hears the answer, or the error, once and in a later step."""
        self._add(operation, tell, None)

    def _add(
        self,
        operation: Operation,
        tell: Callable[[Answer | StoreError], None],
        future: "asyncio.Future[Answer] | None",
    ) -> None:
        if self._breaker.is_open:
            self._breaker.check()
        if len(self._queue) >= self._limits.max_queue:
            raise StoreOverloaded("too many operations wait for the store")
        asked = Asked(operation, tell, self._loop.time() + self._limits.deadline_s, future)
        self._queue.append(asked)
        self._asked.append(asked)
        if self._timer is None:
            self._timer = self._loop.call_at(self._asked[0].deadline_s, self._give_up)
        self._open_turn()

    async def drain(self) -> None:
        """Wait until everything that was queued is answered."""
        while self._queue or self._runs:
            if self._drained is None:
                self._drained = self._loop.create_future()
            await asyncio.wait([self._drained])

    def _open_turn(self) -> None:
        """Have what waits sent in the next turn of the loop, with what arrives in this one, if there is room for it."""
        if not self._is_turn_open and len(self._runs) < IN_FLIGHT:
            self._is_turn_open = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Send a batch, and leave the next one to the next turn."""
        self._is_turn_open = False
        if self._breaker.is_open:
            self._refuse_waiting()
        elif self._queue and len(self._runs) < IN_FLIGHT:
            self._send_next()
        self._note_drained()

    def _send_next(self) -> None:
        if len(self._queue) == 1:
            asked = self._queue.popleft()
            if asked.is_wanted:
                self._send([asked], [asked.operation])
            return
        batch = [self._queue.popleft() for _ in range(self._next_size())]
        wanted = [asked for asked in batch if asked.is_wanted]
        if wanted:
            self._send(wanted, [asked.operation for asked in wanted])
        if self._queue:
            self._open_turn()

    def _next_size(self) -> int:
        waiting = len(self._queue)
        unanswered = waiting + sum(len(run.batch) for run in self._runs)
        return min(max(SMALL_BATCH, -(-unanswered // SHARE)), waiting, self._limits.max_batch)

    def _send(self, batch: "list[Asked[Operation, Answer]]", operations: list[Operation]) -> None:
        run = _Run(batch, self._loop.time() + self._run_limit_s)
        self._runs.append(run)
        try:
            run.give_up = self._start(operations, partial(self._told, run))
        except Exception:
            self._end(run)
            self._fail(batch, StoreUnavailable("the operations could not be sent"))
            log.exception("a batch failed")
            return
        if run.give_up is None:
            self._run_in_background(self._finish(run, partial(self._run, operations)))
        elif self._run_timer is None:
            self._run_timer = self._loop.call_at(run.due_s, self._end_late_runs)

    def _told(self, run: _Run[Operation, Answer], told: Told[Answer]) -> None:
        """Take what a run that was started has come to. What waits is sent before its callers are served."""
        if run.give_up is None:
            return
        run.give_up = None
        if not isinstance(told, list):
            self._run_in_background(self._finish(run, told))
            return
        self._end(run)
        self._take(run, told)

    def _take(self, run: _Run[Operation, Answer], answers: list[Answer]) -> None:
        seconds = time.perf_counter() - run.started_s
        if self._queue:
            self._loop.call_soon(self._serve, run.batch, answers)
        else:
            self._serve(run.batch, answers)
        self._breaker.succeed()
        self._observe(len(run.batch), seconds)

    def _end(self, run: _Run[Operation, Answer]) -> None:
        """Make room for the next run."""
        self._runs.remove(run)
        if self._queue:
            self._open_turn()
        else:
            self._note_drained()

    def _note_drained(self) -> None:
        """End the wait of `drain`, if nothing waits and nothing is under way."""
        if self._drained is not None and not self._queue and not self._runs:
            self._drained.set_result(None)
            self._drained = None

    def _serve(self, batch: "list[Asked[Operation, Answer]]", answers: list[Answer]) -> None:
        for asked, answer in zip(batch, answers, strict=True):
            asked.answer(answer)
        self._forget_answered()

    def _end_late_runs(self) -> None:
        """Give up the runs that have taken too long, and look again when the next is due. One timer at a time."""
        self._run_timer = None
        now = self._loop.time()
        for run in [run for run in self._runs if run.due_s <= now]:
            give_up, run.give_up = run.give_up, None
            if give_up is not None:
                give_up(TimeoutError("no reply in time"))
                self._end(run)
                self._fail(run.batch, StoreUnavailable("the store did not answer in time"))
                self._observe(len(run.batch), time.perf_counter() - run.started_s)
        due = [run.due_s for run in self._runs if run.give_up is not None]
        if due and self._run_timer is None:
            self._run_timer = self._loop.call_at(min(due), self._end_late_runs)

    def _give_up(self) -> None:
        """Fail what has waited for a whole deadline, and look again when the next is due."""
        self._timer = None
        now = self._loop.time()
        late = []
        while self._asked and (self._asked[0].deadline_s <= now or not self._asked[0].is_wanted):
            late.append(self._asked.popleft())
        if self._asked:
            self._timer = self._loop.call_at(self._asked[0].deadline_s, self._give_up)
        answer_all(late, StoreUnavailable("the store did not answer within the deadline"))

    def _forget_answered(self) -> None:
        """Let go of what is answered: its memory must not wait for a deadline that nobody waits for any more."""
        while self._asked and not self._asked[0].is_wanted:
            self._asked.popleft()

    # What takes more than sending and reading: a connection to be made, a program to be loaded, a loss, a replica.

    def _run_in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._note_end)

    def _note_end(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a batch failed", exc_info=task.exception())

    async def _finish(self, run: _Run[Operation, Answer], rest: Callable[[], Awaitable[list[Answer]]]) -> None:
        try:
            answers = await self._answers(run.batch, rest, run.due_s)
        finally:
            self._end(run)
        if answers is None:
            self._forget_answered()
            self._observe(len(run.batch), time.perf_counter() - run.started_s)
        else:
            self._take(run, answers)

    async def _answers(
        self, batch: "list[Asked[Operation, Answer]]", rest: Callable[[], Awaitable[list[Answer]]], due_s: float
    ) -> list[Answer] | None:
        """Return the answers to a batch; None if they were told already, as those of a failure are."""
        try:
            async with asyncio.timeout_at(due_s):
                return await rest()
        except TimeoutError:
            self._fail(batch, StoreUnavailable("the store did not answer in time"))
        except StoreError as error:
            if error.code == "store_error" and len(batch) > 1:
                await self._answer_singly(batch)
            else:
                self._fail(batch, error)
        except Exception:
            self._fail(batch, StoreUnavailable("the store's answer could not be read"))
            raise
        return None

    async def _answer_singly(self, batch: "list[Asked[Operation, Answer]]") -> None:
        """Repeat a batch that the store refused as a whole, one by one: one broken key must not fail the others."""
        for asked in batch:
            if asked.is_wanted:
                started_s, due_s = time.perf_counter(), self._loop.time() + self._run_limit_s
                answers = await self._answers([asked], partial(self._run, [asked.operation]), due_s)
                if answers is not None:
                    self._breaker.succeed()
                    asked.answer(answers[0])
                self._observe(1, time.perf_counter() - started_s)

    def _fail(self, batch: "list[Asked[Operation, Answer]]", error: StoreError) -> None:
        """Fail a batch, and if the store did not answer, with it all that waits behind it for the same silence."""
        answer_all(batch, error)
        if error.code == StoreUnavailable.code:
            self._breaker.fail(error)
            self._refuse_waiting()

    def _refuse_waiting(self) -> None:
        waiting, self._queue = self._queue, deque()
        answer_all(waiting, StoreNotAsked("the store is not answering; nothing was sent"))
