"""An append log on disk: checksummed, synced in groups by a thread, in files that are bounded, so never silent.

Its owner keeps a state in memory and tells changes of it, each before it counts: `append` returns once an entry is on
disk, `write` at once, and the entry follows within `flush_interval_s`. Each file begins with a checkpoint, the
owner's whole state, so that older files are history: they are kept for `keep_s`, or as long as there is room.

An owner changes its state first and appends then, and gives `append` what takes the change back. It opens a log with
`log_segments.read_state` (in a thread) and `start`.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from sidecar.log_frames import MAX_ENTRY_BYTES
from sidecar.log_segments import Segment, SegmentWriter, list_segments, remove_unfinished

Entry = bytes | Callable[[], bytes]
"""An entry, or what makes it: in the thread, off the event loop."""

RETRY_S: Final = 1.0
"""How often a log that cannot be written is tried again, if nobody waits for it."""

log = logging.getLogger("spendgate.log")


class LogUnavailable(Exception):
    """The log could not be written: the disk is full or broken, or the log has no room. Nothing was kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLimits:
    """Bounds of a log. `max_waiting` entries wait while the disk cannot be written; then the oldest are dropped."""

    max_bytes: int = 1 << 30
    segment_bytes: int = 16 << 20
    segment_age_s: float = 3600.0
    keep_s: float = 24 * 3600.0
    max_waiting: int = 20_000
    flush_interval_s: float = 0.05


@dataclass(slots=True)
class LogCounts:
    """What has happened to a log: failed writes, entries that were dropped unwritten, files given up for room."""

    failures: int = 0
    dropped_entries: int = 0
    dropped_files: int = 0


@dataclass(slots=True)
class _Waiting:
    number: int
    entry: Entry
    written: "asyncio.Future[None] | None" = None
    undo: Callable[[], None] | None = None


class AppendLog:
    """See the module. `checkpoint` returns the owner's state as entries.

    It is called on the event loop; what it returns is gone through in the thread, and must not change meanwhile.
    """

    def __init__(
        self, directory: Path, *, limits: LogLimits | None = None, checkpoint: Callable[[], Iterable[bytes]] = tuple
    ) -> None:
        self.counts = LogCounts()
        self.size = 0
        self._directory = directory
        self._limits = limits or LogLimits()
        self._checkpoint = checkpoint
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="append-log")
        self._writer: SegmentWriter | None = None
        self._older: list[Segment] = []
        self._waiting: list[_Waiting] = []
        self._last_number = 0
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_failing = False

    @property
    def is_failing(self) -> bool:
        """Say whether the last attempt to write failed."""
        return self._is_failing

    async def start(self, next_number: int) -> None:
        """Begin a new file; `next_number` is that of the state that was read. A disk that is full is tried again."""
        self._last_number = next_number
        await asyncio.get_running_loop().run_in_executor(self._thread, self._find_older)
        self._task = asyncio.get_running_loop().create_task(self._run())
        await self.flush()

    def write(self, entry: Entry) -> None:
        """Add an entry that is on disk soon: within `flush_interval_s` and the time that the disk takes."""
        if len(self._waiting) >= self._limits.max_waiting:
            self._drop_oldest()
        self._waiting.append(_Waiting(self._next_number(), _checked(entry) if isinstance(entry, bytes) else entry))
        if self._timer is None and not self._is_failing:
            self._timer = asyncio.get_running_loop().call_later(self._limits.flush_interval_s, self._wake.set)

    async def append(self, entry: bytes, *, undo: Callable[[], None] | None = None) -> None:
        """Add an entry and wait until it is synced to disk; others that come meanwhile share the next sync.

        Raises `LogUnavailable` if it was not written, after it called `undo`; `ValueError` if it is too long. A caller
        that is cancelled does not take its entry back.
        """
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(self._next_number(), _checked(entry), written, undo))
        self._wake.set()
        await asyncio.shield(written)

    async def flush(self) -> None:
        """Wait until what was added before was written, or could not be."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(0, b"", done))
        self._wake.set()
        await asyncio.wait([done])
        done.exception()

    async def close(self) -> None:
        """Write what waits and close the file."""
        if self._task is None:
            return
        await self.flush()
        self._task.cancel()
        await asyncio.wait([self._task])
        self._task = None
        if self._timer is not None:
            self._timer.cancel()
        if self._writer is not None:
            self._writer.close()
        self._thread.shutdown()

    def _next_number(self) -> int:
        self._last_number += 1
        return self._last_number

    def _drop_oldest(self) -> None:
        oldest = next((index for index, each in enumerate(self._waiting) if each.written is None), None)
        if oldest is not None:
            del self._waiting[oldest]
            self.counts.dropped_entries += 1

    async def _run(self) -> None:
        """Write what waits, group by group: what comes while one is written is the next."""
        while True:
            await self._until_wanted()
            self._wake.clear()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            batch, self._waiting = self._waiting, []
            await self._write_batch(batch)

    async def _until_wanted(self) -> None:
        if not self._is_failing:
            await self._wake.wait()
            return
        try:
            async with asyncio.timeout(RETRY_S):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _write_batch(self, batch: list[_Waiting]) -> None:
        checkpoint = self._checkpoint() if self._needs_file() else None
        number = self._next_number() if checkpoint is not None else 0
        work = partial(self._store, batch, checkpoint, number)
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except (OSError, LogUnavailable) as error:
            self._fail(batch, error)
            return
        if self._is_failing:
            log.warning("%s can be written again", self._directory)
        self._is_failing = False
        for waiting in batch:
            if waiting.written is not None and not waiting.written.done():
                waiting.written.set_result(None)

    def _fail(self, batch: list[_Waiting], error: Exception) -> None:
        """Tell those who wait, keep the rest for the next attempt."""
        self.counts.failures += 1
        if not self._is_failing:
            log.error("%s cannot be written: %s", self._directory, error)
        if self._writer is not None:
            self._writer.close()
        self._is_failing, self._writer = True, None
        self._waiting[:0] = [waiting for waiting in batch if waiting.written is None]
        for waiting in batch:
            if waiting.written is None or waiting.written.done():
                continue
            if waiting.undo is not None:
                waiting.undo()
            waiting.written.set_exception(LogUnavailable(f"{self._directory} cannot be written: {error}"))
            waiting.written.exception()  # Marked as seen: the caller may have gone.

    def _needs_file(self) -> bool:
        writer, limits = self._writer, self._limits
        if writer is None:
            return True
        # A file takes at least as much as its checkpoint: else a large state would be written again with every entry.
        room = max(min(limits.segment_bytes, limits.max_bytes // 4), writer.checkpoint_size)
        if writer.size - writer.checkpoint_size >= room:
            return True
        return time.monotonic() - writer.created_s >= limits.segment_age_s and writer.has_entries

    # What follows runs in the thread.

    def _find_older(self) -> None:
        remove_unfinished(self._directory)
        self._older = list_segments(self._directory)

    def _store(self, batch: Sequence[_Waiting], checkpoint: Iterable[bytes] | None, number: int) -> None:
        entries = [(each.number, data) for each in batch if (data := self._bytes_of(each)) is not None]
        if checkpoint is not None:
            self._open_file(list(checkpoint), number)
        writer = self._writer
        if writer is None:
            raise LogUnavailable("no file is open")
        if entries:
            frames = [writer.frame(*entry) for entry in entries]
            self._make_room(sum(map(len, frames)))
            writer.write(frames)
        self.size = self._older_bytes() + writer.size

    def _bytes_of(self, waiting: _Waiting) -> bytes | None:
        """Return the bytes of an entry; None for a flush, and for one that cannot be made, which nobody waits for."""
        if not waiting.number:
            return None
        if isinstance(waiting.entry, bytes):
            return waiting.entry
        try:
            return _checked(waiting.entry())
        except ValueError:
            self.counts.dropped_entries += 1
            log.exception("an entry of %s cannot be written", self._directory)
            return None

    def _open_file(self, checkpoint: list[bytes], number: int) -> None:
        if self._writer is not None:
            self._writer.close()
            self._older.append(self._writer.segment)
            self._writer = None
        self._forget_old()
        self._make_room(sum(map(len, checkpoint)))
        self._writer = SegmentWriter(self._directory, checkpoint, last_number=number)
        self._older = [segment for segment in list_segments(self._directory) if segment != self._writer.segment]

    def _older_bytes(self) -> int:
        return sum(_size(segment) for segment in self._older)

    def _forget_old(self) -> None:
        oldest_s = time.time() - self._limits.keep_s
        while len(self._older) > 1 and _modified_s(self._older[0]) < oldest_s:
            self._older.pop(0).path.unlink(missing_ok=True)

    def _make_room(self, wanted: int) -> None:
        """Give up history, oldest first, for what must be written now. The newest file has the whole state."""
        used = self._older_bytes() + (self._writer.size if self._writer else 0)
        keep = 0 if self._writer else 1
        while used + wanted > self._limits.max_bytes and len(self._older) > keep:
            oldest = self._older.pop(0)
            used -= _size(oldest)
            oldest.path.unlink(missing_ok=True)
            self.counts.dropped_files += 1
            log.error("%s is full: %s is given up before its time", self._directory, oldest.path.name)
        if used + wanted > self._limits.max_bytes:
            raise LogUnavailable(f"no room: {used + wanted} bytes are more than {self._limits.max_bytes}")


def _checked(data: bytes) -> bytes:
    if len(data) > MAX_ENTRY_BYTES:
        raise ValueError(f"an entry of {len(data)} bytes is longer than {MAX_ENTRY_BYTES}")
    return data


def _size(segment: Segment) -> int:
    try:
        return segment.path.stat().st_size
    except FileNotFoundError:
        return 0


def _modified_s(segment: Segment) -> float:
    try:
        return segment.path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
