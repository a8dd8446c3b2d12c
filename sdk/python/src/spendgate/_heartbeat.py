"""Keeps open holds from expiring: each is extended three times within its time to live, for as long as it is open."""

import logging
import math
import os
import time
from collections.abc import Callable
from typing import Final

from spendgate._calls import Call
from spendgate._hold_state import BEATS_A_TTL, HoldState
from spendgate.decisions import Settlement
from spendgate.errors import SpendgateRequestError, SpendgateUnavailableError

RETRIES_A_BEAT: Final = 4

log = logging.getLogger("spendgate")


class Heartbeat:
    """The open holds of a client. `add` and `remove` come from any thread, `beat` from one."""

    def __init__(self, send: Callable[[Call], Settlement]) -> None:
        self._send = send
        self._open: dict[int, HoldState] = {}

    def add(self, state: HoldState) -> None:
        """Keep a hold alive from now on."""
        self._open[id(state)] = state

    def remove(self, state: HoldState) -> None:
        """Let it go."""
        self._open.pop(id(state), None)

    def clear(self) -> None:
        """Forget all, which are another process's."""
        self._open = {}

    def states(self) -> list[HoldState]:
        """Return the open holds."""
        return list(self._open.values())

    def next_s(self) -> float:
        """Return when the next beat is due, on the monotonic clock."""
        return min((state.next_beat_s for state in self.states()), default=math.inf)

    def beat(self) -> None:
        """Extend what is due."""
        now_s = time.monotonic()
        for state in self.states():
            if state.next_beat_s <= now_s and state.is_open and state.pid == os.getpid():
                self._extend(state)

    def _extend(self, state: HoldState) -> None:
        interval_s = state.ttl_s / BEATS_A_TTL
        state.beat_after(interval_s)
        try:
            self._send(state.extend(state.ttl_s))
        except SpendgateUnavailableError:
            state.beat_after(interval_s / RETRIES_A_BEAT)
        except SpendgateRequestError as error:
            self.remove(state)
            if state.is_open:
                log.warning("%s cannot be kept alive: %s", state, error.message)
