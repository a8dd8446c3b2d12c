"""The time of an event loop, which stands still until a test moves it: deadlines pass when the test says so."""

import asyncio
from typing import Final

import pytest

TURNS: Final = 20
"""More turns of the loop than anything takes from a timer that is due to what it wakes."""


class LoopClock:
    """Stands in for the clock of the running loop. Nothing that waits for a time ends by itself meanwhile."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        self._now_s = loop.time()
        monkeypatch.setattr(loop, "time", lambda: self._now_s)

    async def move(self, seconds: float) -> None:
        """Let so much time pass, and let everything that is due then happen."""
        self._now_s += seconds
        for _ in range(TURNS):
            await asyncio.sleep(0)
