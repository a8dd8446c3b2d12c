"""Where journals lie: ``<data_dir>/journal/<number>``, one for each process that shares the directory.

A process takes the first that nobody has, and so finds what its predecessor left; a lock on the directory says who.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Final

from sidecar.journal import Journal, journal_limits
from sidecar.log_segments import LogState, read_state

DIRECTORY_NAME: Final = "journal"
MAX_JOURNALS: Final = 1024

log = logging.getLogger("spendgate.journal")


def journal_directories(data_dir: Path) -> list[Path]:
    """Return the journals of a data directory, in their order."""
    directory = data_dir / DIRECTORY_NAME
    names = [path.name for path in directory.iterdir()] if directory.is_dir() else []
    return [directory / name for name in sorted(filter(str.isdecimal, names), key=int)]


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[bool]:
    """Lock a journal; yields whether nobody else has it. Raises `OSError`."""
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def claim_directory(data_dir: Path, stack: contextlib.ExitStack, name: str = DIRECTORY_NAME) -> Path:
    """Return the first journal that nobody has; it is ours until the stack is closed. Raises `OSError`.

    Other logs that one process keeps for itself are claimed so as well, each under a `name`.
    """
    for number in range(MAX_JOURNALS):
        directory = data_dir / name / str(number)
        if stack.enter_context(locked(directory)):
            return directory
    raise OSError(f"{data_dir / name} is used by {MAX_JOURNALS} processes already")


@contextlib.asynccontextmanager
async def open_journal(
    data_dir: Path, *, max_bytes: int, now_ms: Callable[[], int], landing_ms: int, kept_within_s: float
) -> AsyncIterator[Journal]:
    """Provide the journal of this process, with what its predecessor has left; on leaving, it is whole on disk.

    Raises `OSError` for a directory that cannot be read or locked.
    """
    with contextlib.ExitStack() as stack:
        directory = await asyncio.to_thread(claim_directory, data_dir, stack)
        state = await asyncio.to_thread(read_state, directory)
        journal = Journal(
            directory,
            limits=journal_limits(max_bytes),
            now_ms=now_ms,
            landing_ms=landing_ms,
            kept_within_s=kept_within_s,
        )
        journal.take_over(state)
        _tell(journal, state)
        await journal.log.start(state.next_number)
        try:
            yield journal
        finally:
            await journal.log.close()


def _tell(journal: Journal, state: LogState) -> None:
    for damaged in state.damages:
        if damaged.damage.torn:
            log.info("%s, as a crash leaves it", damaged)
        else:
            log.error("%s: what stood there cannot be replayed", damaged)
    if journal.open:
        log.warning("%s: the store has not acknowledged %d operations yet", journal.directory, len(journal.open))
