"""What the sidecars of a workspace have told the store, for tests that read it or wait for it."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from ledger.heartbeats import Heartbeats, SidecarState

WITHIN_S: Final = 60.0
POLL_S: Final = 0.01


async def the_report(heartbeats: Heartbeats, sidecar_id: str | None = None) -> SidecarState:
    """Return what a sidecar has told; without an id it must be the only one that is listed."""
    states = await heartbeats.list()
    meant = [state for state in states if sidecar_id in {None, state.id}]
    assert 1 == len(meant), f"no report of {sidecar_id or 'one sidecar alone'}, but of these: {states}"
    return meant[0]


async def until_reported(heartbeats: Heartbeats, what: str, is_so: Callable[[SidecarState], bool]) -> SidecarState:
    """Wait until a sidecar has told what is meant, and return its report."""
    states: Sequence[SidecarState] = ()
    try:
        async with asyncio.timeout(WITHIN_S):
            while True:
                states = await heartbeats.list()
                if told := [state for state in states if is_so(state)]:
                    return told[0]
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise AssertionError(f"nobody reported {what} within {WITHIN_S:.0f} s, but this: {states}") from None
