"""Joins operations that arrive in one turn of the event loop into one script run, in order, without waiting for more.

A lane has at most two scripts under way, in order on one connection: while the store works on one, this process reads
the answers of the other. What arrives meanwhile goes together in the next, so batches grow with the load and only then.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from ledger.errors import StoreError, StoreNotAsked, StoreOverloaded, StoreUnavailable
from sidecar.breaker import Breaker

Operation = TypeVar("Operation")
Answer = TypeVar("Answer")


IN_FLIGHT: Final = 2
SMALL_BATCH: Final = 16
SHARE: Final = 4
"""A batch takes a quarter of what waits, and at least sixteen. The store answers what it has read together at once, so
that one large batch and this process would take turns idling; small ones keep both at work (docs/decisions/0005)."""

log = logging.getLogger("spendgate.lane")


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneLimits:
    """Bounds of a lane: operations in one script, operations waiting, and seconds."""

    max_batch: int
    max_queue: int
    command_timeout_s: float
    deadline_s: float


class Lane(Generic[Operation, Answer]):
    """One queue in front of one script of one partition.

    `run` takes a batch and returns its answers in order. `observe` is told of every run: operations and seconds. The
    breaker is told whether the store answered; while it is open nothing is queued or sent.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Operation]], Awaitable[list[Answer]]],
        limits: LaneLimits,
        observe: Callable[[int, float], None],
        breaker: Breaker,
    ) -> None:
        self._run = run
        self._limits = limits
        # After a whole deadline nobody waits for a run any more.
        self._run_limit_s = min(limits.command_timeout_s, limits.deadline_s)
        self._observe = observe
        self._breaker = breaker
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[Operation, asyncio.Future[Answer]]] = deque()
        self._asked: deque[tuple[float, asyncio.Future[Answer]]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._is_turn_open = False
        self._running: set[asyncio.Task[None]] = set()
        self._is_starting = False

    @property
    def depth(self) -> int:
        """How many operations wait."""
        return len(self._queue)

    def submit(self, operation: Operation) -> "asyncio.Future[Answer]":
        """Queue an operation. The future fails with `StoreError` at the latest after the deadline.

        Raises `StoreNotAsked` at once while the breaker is open, and `StoreOverloaded` when the queue is full; then
        nothing was sent.
        """
        self._breaker.check()
        if len(self._queue) >= self._limits.max_queue:
            raise StoreOverloaded("too many operations wait for the store")
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._queue.append((operation, future))
        self._asked.append((self._loop.time() + self._limits.deadline_s, future))
        if self._timer is None:
            self._timer = self._loop.call_at(self._asked[0][0], self._give_up)
        if not self._is_turn_open:
            self._open_turn()
        return future

    async def drain(self) -> None:
        """Wait until everything that was queued is answered."""
        while self._running:
            await asyncio.wait(self._running)

    def _open_turn(self) -> None:
        """Begin a turn of the loop, which ends where the work that is scheduled here begins."""
        self._is_turn_open = True
        if len(self._running) < IN_FLIGHT:
            self._is_starting = True
            self._run_in_background(self._work(ends_turn=True))
        else:
            self._loop.call_soon(self._close_turn)

    def _close_turn(self) -> None:
        self._is_turn_open = False

    def _give_up(self) -> None:
        """Fail what has waited for a whole deadline, and look again when the next is due."""
        self._timer = None
        now = self._loop.time()
        late = []
        while self._asked and (self._asked[0][0] <= now or self._asked[0][1].done()):
            late.append(self._asked.popleft()[1])
        if self._asked:
            self._timer = self._loop.call_at(self._asked[0][0], self._give_up)
        _fail_all(late, StoreUnavailable("the store did not answer within the deadline"))

    def _forget_answered(self) -> None:
        """Let go of what is answered: its memory must not wait for a deadline that nobody waits for any more."""
        while self._asked and self._asked[0][1].done():
            self._asked.popleft()

    def _run_in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._end)

    async def _work(self, *, ends_turn: bool = False) -> None:
        """Send batch after batch until nothing waits: the next leaves before the answers of the last are served."""
        if ends_turn:
            self._is_starting = False
            self._close_turn()
        while self._queue:
            if self._breaker.is_open:
                self._refuse_waiting()
                return
            batch = [self._queue.popleft() for _ in range(self._next_size())]
            if self._queue and len(self._running) < IN_FLIGHT:
                self._run_in_background(self._work())
            wanted = [entry for entry in batch if not entry[1].done()]
            if wanted:
                await self._answer(wanted)

    def _next_size(self) -> int:
        waiting = len(self._queue)
        return min(max(SMALL_BATCH, -(-waiting // SHARE)), waiting, self._limits.max_batch)

    def _end(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        if self._queue and not self._is_starting:
            # It failed, or something arrived since it last looked: there is room for one now.
            self._run_in_background(self._work())
        if not task.cancelled() and task.exception() is not None:
            log.error("a batch failed", exc_info=task.exception())

    async def _answer(self, batch: list[tuple[Operation, "asyncio.Future[Answer]"]]) -> None:
        operations = [operation for operation, _ in batch]
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self._run_limit_s):
                answers = await self._run(operations)
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
        else:
            self._breaker.succeed()
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)
        self._forget_answered()
        self._observe(len(batch), time.perf_counter() - started)

    async def _answer_singly(self, batch: list[tuple[Operation, "asyncio.Future[Answer]"]]) -> None:
        """Repeat a batch that the store refused as a whole, one by one: one broken key must not fail the others."""
        for entry in batch:
            if not entry[1].done():
                await self._answer([entry])

    def _fail(self, batch: list[tuple[Operation, "asyncio.Future[Answer]"]], error: StoreError) -> None:
        """Fail a batch, and if the store did not answer, with it all that waits behind it for the same silence."""
        _fail_all([future for _, future in batch], error)
        if error.code == StoreUnavailable.code:
            self._breaker.fail(error)
            self._refuse_waiting()

    def _refuse_waiting(self) -> None:
        waiting, self._queue = self._queue, deque()
        _fail_all([future for _, future in waiting], StoreNotAsked("the store is not answering; nothing was sent"))


def _fail_all(futures: list["asyncio.Future[Any]"], error: StoreError) -> None:
    for future in futures:
        if not future.done():
            future.set_exception(error)
