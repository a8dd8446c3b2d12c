"""While calls wait for a sidecar in vain, most of them need not: only one now and then asks whether it is back."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from spendgate._exchange import Unreachable

TIMEOUTS: Final = 3
"""So many calls in a row that waited for their whole timeout open the breaker."""
FIRST_PAUSE_S: Final = 0.25
LONGEST_PAUSE_S: Final = 2.0

log = logging.getLogger("spendgate")


class Breaker:
    """Counts calls that timed out. What fails at once costs nothing and does not count. Safe for threads."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._timeouts = 0
        self._pause_s = FIRST_PAUSE_S
        self._until_s = 0.0
        self._lock = threading.Lock()

    def after_fork(self) -> None:
        """Take a lock that no thread of the parent holds."""
        self._lock = threading.Lock()

    def check(self) -> None:
        """Let a call ask the sidecar; raises `Unreachable` for one that need not. The first after a pause tries it."""
        if self._timeouts < TIMEOUTS:
            return
        with self._lock:
            if self._now_s() < self._until_s:
                raise Unreachable("it is not asked, because calls wait for it in vain", sent=False)
            self._pause()

    def failed(self, error: Unreachable) -> None:
        """Count a call without an answer."""
        if not error.timed_out:
            return
        with self._lock:
            self._timeouts += 1
            if self._timeouts == TIMEOUTS:
                self._pause()
                log.warning("the sidecar let %d calls wait in vain; until it answers, only a few ask it", TIMEOUTS)

    def answered(self) -> None:
        """Let all calls ask again."""
        if not self._timeouts:
            return
        with self._lock:
            if self._timeouts >= TIMEOUTS:
                log.warning("the sidecar answers again")
            self._timeouts = 0
            self._pause_s = FIRST_PAUSE_S

    def _pause(self) -> None:
        self._until_s = self._now_s() + self._pause_s
        self._pause_s = min(LONGEST_PAUSE_S, 2 * self._pause_s)
