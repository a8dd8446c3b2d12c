"""The store's time as this process knows it: the last time it told, carried on by the monotonic clock."""

import time
from collections.abc import Callable


def _wall_ms() -> float:
    return time.time() * 1000


def _monotonic_ms() -> float:
    return time.monotonic() * 1000


class StoreClock:
    """Estimates the store's Unix time in milliseconds; the wall clock is believed until the store has spoken.

    A wrong estimate does no harm: the scripts compare with their own time and ask to plan again.
    """

    def __init__(
        self, *, wall_ms: Callable[[], float] = _wall_ms, monotonic_ms: Callable[[], float] = _monotonic_ms
    ) -> None:
        self._monotonic_ms = monotonic_ms
        self._offset_ms = wall_ms() - monotonic_ms()

    def now_ms(self) -> int:
        """Return the store's time, estimated."""
        return int(self._monotonic_ms() + self._offset_ms)

    def observe(self, store_ms: int) -> None:
        """Learn the store's time from an answer that has just arrived."""
        self._offset_ms = store_ms - self._monotonic_ms()
