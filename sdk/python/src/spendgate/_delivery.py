"""Delivers settles and releases that could not be delivered at once; what has to wait is kept in the journal."""

import logging
import math
import random
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import Final

from spendgate._calls import Call
from spendgate._journal import Journal
from spendgate.decisions import Settlement
from spendgate.errors import SpendgateError, SpendgateRequestError, SpendgateUnavailableError

FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 30.0
LOOK_AROUND_S: Final = 60.0
"""How often files of ended processes are looked for."""
MAX_AT_ONCE: Final = 100
"""So many are delivered in a row before open holds get their turn."""
RELEASE_ATTEMPTS: Final = 3
"""A release may overtake the reserve whose answer was lost, so "no such hold" is believed the third time only."""
NOT_FOUND: Final = 404
CONFLICT: Final = 409
NOT_NOW: Final = frozenset({401, 403, 408, 429})
"""Refusals that are not about the call itself: a token that is changed, or too much at once. They pass."""

CHARGED_ALREADY: Final = "not_a_hold"
"""A check that was allowed without an answer is charged by a settle; this says that the check itself had arrived."""

log = logging.getLogger("spendgate")


def passes(error: SpendgateError) -> bool:
    """Say whether an operation that failed so may succeed later, as it is."""
    return isinstance(error, SpendgateUnavailableError) or (
        isinstance(error, SpendgateRequestError) and error.status in NOT_NOW
    )


class _Outcome(Enum):
    DONE = auto()
    AGAIN = auto()
    NO_ANSWER = auto()


class Delivery:
    """What waits is tried again after pauses that grow. Used by one thread at a time."""

    def __init__(self, send: Callable[[Call], Settlement], journal: Journal) -> None:
        self._send = send
        self._journal = journal
        self._begin()

    def _begin(self) -> None:
        self._pause_s = FIRST_PAUSE_S
        self._next_s = math.inf
        self._looks_s = 0.0
        self._attempts: dict[str, int] = {}

    def after_fork(self) -> None:
        """Begin with nothing."""
        self._journal.after_fork()
        self._begin()

    def next_s(self) -> float:
        """Return when the next attempt is due, on the monotonic clock."""
        return min(self._next_s, self._looks_s)

    def deliver(self, call: Call) -> None:
        """Deliver, or keep for later."""
        if self._next_s != math.inf or self._attempt(call) is not _Outcome.DONE:
            self.keep(call)

    def keep(self, call: Call) -> None:
        """Keep for later what could not be delivered just now."""
        self._journal.add(call)
        if self._next_s == math.inf:
            self._pause()

    def retry(self) -> None:
        """Deliver what waits, if it is time to, also what ended processes left; no answer ends the attempt."""
        now_s = time.monotonic()
        if now_s >= self._looks_s:
            self._looks_s = now_s + LOOK_AROUND_S
            self._journal.take_over()
            self._next_s = now_s if len(self._journal) and self._next_s == math.inf else self._next_s
        if now_s >= self._next_s:
            self._deliver_waiting()

    def close(self) -> None:
        """Leave what waits to the next process."""
        self._journal.close()

    def _deliver_waiting(self) -> None:
        waiting = self._journal.waiting()
        outcome = _Outcome.DONE
        for call in waiting[:MAX_AT_ONCE]:
            outcome = self._attempt(call)
            if outcome is _Outcome.NO_ANSWER:
                self._pause()
                return
            if outcome is _Outcome.DONE:
                self._journal.remove(call)
        self._pause_s = FIRST_PAUSE_S
        if not len(self._journal):
            self._next_s = math.inf
        elif len(waiting) > MAX_AT_ONCE:
            self._next_s = time.monotonic()
        else:
            self._pause()

    def _pause(self) -> None:
        self._next_s = time.monotonic() + self._pause_s * random.uniform(0.5, 1.0)  # noqa: S311 - spreads attempts
        self._pause_s = min(LONGEST_PAUSE_S, 2 * self._pause_s)

    def _attempt(self, call: Call) -> _Outcome:
        try:
            self._send(call)
        except SpendgateUnavailableError:
            return _Outcome.NO_ANSWER
        except SpendgateRequestError as error:
            if call.operation == "release" and error.status in {NOT_FOUND, CONFLICT}:
                return self._judge_release(call, error)
            if passes(error):
                log.warning("%s is not taken now, and waits: %s", call, error.message)
                return _Outcome.NO_ANSWER
            level = logging.INFO if error.code == CHARGED_ALREADY else logging.ERROR
            log.log(level, "%s was refused, and is given up: %s: %s", call, error.message, call.fields)
        return _Outcome.DONE

    def _judge_release(self, call: Call, error: SpendgateRequestError) -> _Outcome:
        attempts = self._attempts.pop(call.request_id, 0) + 1
        if error.status == NOT_FOUND and attempts < RELEASE_ATTEMPTS:
            self._attempts[call.request_id] = attempts
            return _Outcome.AGAIN
        return _Outcome.DONE
