"""The data directory of `spendgate up`: private, and used by one command and one server at a time."""

import fcntl
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

PRIVATE_MODE: Final = 0o700
COMMAND_LOCK_NAME: Final = "command.lock"
SERVER_LOCK_NAME: Final = "server.lock"
POLL_INTERVAL_S: Final = 0.01


class DataDirBusy(Exception):
    """Another process uses the data directory."""


@dataclass(slots=True)
class DataDirLock:
    """A lock file that the kernel frees when the last process that holds it ends, however it ends."""

    descriptor: int | None

    @classmethod
    def take_command(cls, directory: Path) -> Self:
        """Make `directory` private to this user and lock it for this command. Raises `DataDirBusy` at once."""
        directory.mkdir(mode=PRIVATE_MODE, parents=True, exist_ok=True)
        directory.chmod(PRIVATE_MODE)
        busy = f"{directory} is in use by another `spendgate up`: stop that one or choose another --data-dir"
        return cls(_lock(directory / COMMAND_LOCK_NAME, deadline_s=0.0, busy=busy))

    @classmethod
    def take_server(cls, directory: Path, *, deadline_s: float) -> Self:
        """Lock the directory for a server, which inherits the lock, so two never write one append-only file."""
        busy = f"{directory} is in use by a server that cannot be stopped: end it or choose another --data-dir"
        return cls(_lock(directory / SERVER_LOCK_NAME, deadline_s=deadline_s, busy=busy))

    def release(self) -> None:
        """Close our end of the lock; a process that inherited it still holds it. Repeating is harmless."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def _lock(path: Path, *, deadline_s: float, busy: str) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + deadline_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                raise DataDirBusy(busy) from None
            time.sleep(POLL_INTERVAL_S)
        else:
            return descriptor
