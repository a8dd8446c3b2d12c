"""Delivers settles and releases that could not be delivered at once; what has to wait is kept."""

import logging
import math
import random
import time
from collections.abc import Callable
from typing import Final

from spendgate._calls import Call
from spendgate.decisions import Settlement
from spendgate.errors import SpendgateRequestError, SpendgateUnavailableError

FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 30.0

log = logging.getLogger("spendgate")


class Delivery:
    """What waits for delivery, tried again after pauses that grow. Used by one thread at a time."""

    def __init__(self, send: Callable[[Call], Settlement]) -> None:
        self._send = send
        self.after_fork()

    def after_fork(self) -> None:
        """Begin with nothing."""
        self._waiting: dict[str, Call] = {}
        self._pause_s = FIRST_PAUSE_S
        self._next_s = math.inf

    def next_s(self) -> float:
        """Return when the next attempt is due, on the monotonic clock."""
        return self._next_s

    def deliver(self, call: Call) -> None:
        """Deliver, or keep for later."""
        if self._waiting or not self._attempt(call):
            self.keep(call)

    def keep(self, call: Call) -> None:
        """Keep for later what could not be delivered just now."""
        self._waiting[call.request_id] = call
        if self._next_s == math.inf:
            self._pause()

    def retry(self) -> None:
        """Deliver what waits, if it is time to; the first failure ends the attempt."""
        if time.monotonic() < self._next_s:
            return
        for request_id, call in list(self._waiting.items()):
            if not self._attempt(call):
                self._pause()
                return
            del self._waiting[request_id]
        self._next_s, self._pause_s = math.inf, FIRST_PAUSE_S

    def close(self) -> None:
        """Let go of everything."""

    def _pause(self) -> None:
        self._next_s = time.monotonic() + self._pause_s * random.uniform(0.5, 1.0)  # noqa: S311 - spreads attempts
        self._pause_s = min(LONGEST_PAUSE_S, 2 * self._pause_s)

    def _attempt(self, call: Call) -> bool:
        try:
            self._send(call)
        except SpendgateUnavailableError:
            return False
        except SpendgateRequestError as error:
            log.log(logging.ERROR, "%s was refused: %s", call, error.message)
        return True
