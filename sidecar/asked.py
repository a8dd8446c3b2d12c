"""An operation that waits in a lane, and who hears its answer: a callback, or a future that its caller may cancel."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from ledger.errors import StoreError

Operation = TypeVar("Operation")
Answer = TypeVar("Answer")

log = logging.getLogger("spendgate.lane")


class Asked(Generic[Operation, Answer]):
    """An operation and who hears its answer, until somebody did; `future` if it is one, which may be cancelled."""

    __slots__ = ("deadline_s", "future", "operation", "tell")

    def __init__(
        self,
        operation: Operation,
        tell: Callable[[Answer | StoreError], None],
        deadline_s: float,
        future: "asyncio.Future[Answer] | None",
    ) -> None:
        self.operation = operation
        self.tell: Callable[[Answer | StoreError], None] | None = tell
        self.deadline_s = deadline_s
        self.future = future

    @property
    def is_wanted(self) -> bool:
        """Say whether somebody still waits for the answer."""
        return self.tell is not None and (self.future is None or not self.future.done())

    def answer(self, answer: Answer | StoreError) -> None:
        """Tell the answer, unless there was one before."""
        tell = self.tell
        if tell is None:
            return
        self.tell = self.future = None
        try:
            tell(answer)
        except Exception:
            log.exception("an answer could not be told")


def settle(future: "asyncio.Future[Any]", answer: Any) -> None:
    """Make an answer the future's result, or its error, unless it is done."""
    if future.done():
        return
    if isinstance(answer, StoreError):
        future.set_exception(answer)
    else:
        future.set_result(answer)


def answer_all(batch: Iterable[Asked[Any, Any]], error: StoreError) -> None:
    """Tell all of them an error, but those who were told something before."""
    for asked in batch:
        asked.answer(error)
