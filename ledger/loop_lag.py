"""Watches how late the event loop runs its timers: the first sign that a process is overloaded."""

import asyncio
from collections.abc import Callable
from typing import Final

INTERVAL_S: Final = 0.5


async def watch_loop_lag(report: Callable[[float], None]) -> None:
    """Tell the lag in seconds, twice a second, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + INTERVAL_S
        await asyncio.sleep(INTERVAL_S)
        report(max(0.0, loop.time() - due))
