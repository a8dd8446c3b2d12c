"""Ports for servers that cannot say which one they took: chosen beforehand, so nobody may take them meanwhile."""

import contextlib
import random
import socket
from typing import Final

HOST: Final = "127.0.0.1"
CHOICE: Final = range(20_000, 32_000)
"""Below those that the system gives to connections (from 32,768 on Linux), of which a busy test opens many."""


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on; test processes side by side hardly ever draw the same."""
    drawn = random.SystemRandom().sample(CHOICE, len(CHOICE))
    found: list[int] = []
    for port in drawn:
        if len(found) == count:
            return found
        with contextlib.suppress(OSError), socket.socket() as candidate:
            candidate.bind((HOST, port))
            found.append(port)
    raise RuntimeError("no free ports")
