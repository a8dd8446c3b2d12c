"""The files of an append log, blocking: ``<first number>-<salt>.log``, each beginning with a checkpoint.

A file that exists is whole up to its checkpoint, because it is written beside and renamed. Damage is told, never
repaired: a file is only ever appended to by the process that made it, and removed as a whole.
"""

import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sidecar.log_frames import Damage, Frame, FrameKind, encode_frame, scan_frames
from sidecar.whole_files import sync_directory

_NAME: Final = re.compile(r"(?P<first>\d{20})-(?P<salt>[0-9a-f]{8})\.log", re.ASCII)
_UNFINISHED: Final = ".new"


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of a log, by the number that comes next after its checkpoint."""

    path: Path
    first: int
    salt: int

    def read(self) -> list[Frame | Damage]:
        """Return what is in it; nothing if it was removed meanwhile. Raises `OSError`."""
        try:
            body = self.path.read_bytes()
        except FileNotFoundError:
            return []
        return list(scan_frames(body, self.salt))


@dataclass(frozen=True, slots=True)
class DamagedFile:
    """Where a log is damaged."""

    path: Path
    damage: Damage

    def __str__(self) -> str:
        kind = "torn end" if self.damage.torn else "damaged"
        return f"{self.path}: {kind}, {self.damage.length} bytes at {self.damage.offset}"


@dataclass(slots=True)
class LogState:
    """What a log says at its end: the newest checkpoint, then every entry after it, oldest first."""

    checkpoint: list[bytes] = field(default_factory=list)
    entries: list[bytes] = field(default_factory=list)
    damages: list[DamagedFile] = field(default_factory=list)
    next_number: int = 1


def list_segments(directory: Path) -> list[Segment]:
    """Return the files of a log, oldest first; none where there is no such directory."""
    names = sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []
    matches = [match for match in map(_NAME.fullmatch, names) if match]
    return [Segment(directory / match[0], int(match["first"]), int(match["salt"], 16)) for match in matches]


def read_entries(directory: Path) -> Iterator[bytes | DamagedFile]:
    """Yield every entry that is kept, oldest first and each once, and what is damaged. Raises `OSError`."""
    last = 0
    for segment in list_segments(directory):
        for frame in segment.read():
            if isinstance(frame, Damage):
                yield DamagedFile(segment.path, frame)
            elif frame.kind is FrameKind.ENTRY and frame.number > last:
                last = frame.number
                yield frame.data


def read_state(directory: Path) -> LogState:
    """Return the state of a log: from the newest file whose checkpoint is whole. Raises `OSError`."""
    state, kept = LogState(), list[list[Frame | Damage]]()
    for segment in reversed(list_segments(directory)):
        frames = segment.read()
        kept.insert(0, frames)
        state.damages[:0] = [DamagedFile(segment.path, frame) for frame in frames if isinstance(frame, Damage)]
        state.next_number = max(state.next_number, segment.first)
        if _has_whole_checkpoint(frames):
            break
    last = 0
    for frame in [frame for frames in kept for frame in frames]:
        if isinstance(frame, Damage):
            continue
        if frame.kind is FrameKind.CHECKPOINT:
            state.checkpoint.append(frame.data)
        elif frame.kind is FrameKind.CHECKPOINT_END:
            last = max(last, frame.number)
        elif frame.number > last:
            last = frame.number
            state.entries.append(frame.data)
    state.next_number = max(state.next_number, last + 1)
    return state


def _has_whole_checkpoint(frames: Sequence[Frame | Damage]) -> bool:
    for frame in frames:
        if isinstance(frame, Damage):
            return False
        if frame.kind is not FrameKind.CHECKPOINT:
            return frame.kind is FrameKind.CHECKPOINT_END
    return False


class SegmentWriter:
    """Writes one file: a checkpoint at once, then entries. After an `OSError` it is closed, and another one is due.

    What an error leaves unsynced is cut off again, so that nobody is told "not written" of what is found later.
    """

    def __init__(self, directory: Path, checkpoint: Iterable[bytes], *, last_number: int) -> None:
        salt = secrets.randbits(32)
        self.segment = Segment(directory / f"{last_number + 1:020d}-{salt:08x}.log", last_number + 1, salt)
        self.created_s = time.monotonic()
        self.size = self.checkpoint_size = 0
        self.has_entries = False
        unfinished = self.segment.path.with_suffix(_UNFINISHED)
        directory.mkdir(parents=True, exist_ok=True)
        # Who may read a user's id here is nobody else's business on this machine.
        self._file = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            frames = [encode_frame(FrameKind.CHECKPOINT, last_number, data, salt) for data in checkpoint]
            self.write([*frames, encode_frame(FrameKind.CHECKPOINT_END, last_number, b"", salt)])
            self.has_entries, self.checkpoint_size = False, self.size
            unfinished.replace(self.segment.path)
            sync_directory(directory)
        except OSError:
            self.close()
            unfinished.unlink(missing_ok=True)
            self.segment.path.unlink(missing_ok=True)
            raise

    def frame(self, number: int, data: bytes) -> bytes:
        """Return the frame of an entry in this file."""
        return encode_frame(FrameKind.ENTRY, number, data, self.segment.salt)

    def write(self, frames: Sequence[bytes]) -> None:
        """Write frames and sync them; raises `OSError`, and then none of them is there."""
        body = memoryview(b"".join(frames))
        length = len(body)
        try:
            while body:
                body = body[os.write(self._file, body) :]
            os.fdatasync(self._file)
        except OSError:
            os.ftruncate(self._file, self.size)
            self.close()
            raise
        self.size += length
        self.has_entries = True

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def remove_unfinished(directory: Path) -> None:
    """Remove what a crash left of files that never came to be."""
    for path in directory.glob(f"*{_UNFINISHED}") if directory.is_dir() else ():
        path.unlink(missing_ok=True)
