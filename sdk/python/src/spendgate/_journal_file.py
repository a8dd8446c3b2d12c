"""One file of the journal: lines with checksums, appended and synced by the one process that holds its lock."""

import fcntl
import json
import os
import secrets
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self

SUFFIX: Final = ".journal"
CHECKSUM_DIGITS: Final = 8
CHUNK_BYTES: Final = 1024 * 1024

Line = Mapping[str, Any]


class JournalFile:
    """A file that this process has locked. The lock ends with the process, however it ends."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    @classmethod
    def create(cls, directory: Path) -> Self:
        """Make a new file, for the owner's eyes only; raises `OSError`."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        while True:
            path = directory / f"{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"
            made = cls._locked(path, os.O_CREAT | os.O_EXCL)
            if made is not None:
                _sync_directory(directory)
                return made

    @classmethod
    def take_over(cls, path: Path) -> Self | None:
        """Lock the file of a process that ended; None while its process lives, or another one was faster."""
        try:
            return cls._locked(path, 0)
        except FileNotFoundError:
            return None

    @classmethod
    def _locked(cls, path: Path, flags: int) -> Self | None:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Between opening and locking, another process may have locked, emptied and removed it.
            if os.fstat(descriptor).st_nlink:
                return cls(path, descriptor)
        except BlockingIOError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def append(self, *lines: Line, durable: bool) -> None:
        """Write lines behind the others, with `durable` down to the disk; raises `OSError`."""
        data = b"".join(encode(line) for line in lines)
        try:
            self._write(data)
            if durable:
                os.fsync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, self.size)
            raise
        self.size += len(data)

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._descriptor, data) :]

    def read(self) -> Iterator[Line | None]:
        """Yield the lines; None for one that is damaged, as the last one is when its process died while writing it."""
        data = b""
        while chunk := os.pread(self._descriptor, CHUNK_BYTES, len(data)):
            data += chunk
        for line in data.splitlines(keepends=True):
            yield decode(line)

    def empty(self) -> None:
        """Drop all lines; raises `OSError`."""
        os.ftruncate(self._descriptor, 0)
        self.size = 0

    def remove(self) -> None:
        """Remove the file and let go of it."""
        self.path.unlink(missing_ok=True)
        self.let_go()

    def let_go(self) -> None:
        """Let other processes take it over."""
        os.close(self._descriptor)


def encode(line: Line) -> bytes:
    """Return a line: the checksum of its JSON, a space, the JSON."""
    text = json.dumps(line, separators=(",", ":")).encode()
    return b"%0*x %s\n" % (CHECKSUM_DIGITS, zlib.crc32(text), text)


def decode(line: bytes) -> Line | None:
    """Return what a line says; None if it is damaged."""
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    try:
        if not line.endswith(b"\n") or int(checksum, 16) != zlib.crc32(text):
            return None
        said = json.loads(text)
    except ValueError:
        return None
    return said if isinstance(said, dict) else None


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
