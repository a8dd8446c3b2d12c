"""Clients of the SDK for tests, and waiting for what they do in the background."""

import time
from collections.abc import Callable
from typing import Final

from spendgate import Spendgate, UserUsage

TIMEOUT_S: Final = 60.0
"""No test depends on how fast a busy machine answers."""
DEADLINE_S: Final = 60.0
POLL_S: Final = 0.02


def eventually(is_so: Callable[[], bool]) -> None:
    """Wait until something is so; raises `AssertionError` if it is not in time."""
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline, "it did not become so in time"
        time.sleep(POLL_S)  # polls with a deadline


def settled_usage(gate: Spendgate, user: str) -> UserUsage:
    """Return a user's usage once no hold is open."""
    eventually(lambda: gate.usage(user).open_holds == 0)
    return gate.usage(user)


def spend_text(usage: UserUsage) -> str:
    """Return what the user spent this month."""
    return f"{usage.windows[-1].spend_usd}"
