"""The journal of operators' adjustments: no sidecar knows of them, so the control plane keeps them on its own disk.

A file of one line an adjustment, each with a checksum, synced before the operator is answered. An adjustment is kept as
long as the counters that it changed. A line that is torn or damaged costs itself.
"""

import fcntl
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from controlplane.kept_adjustments import KeptAdjustment, decode_line, encode_line
from ledger.adjustments import Adjustment
from ledger.places import Place

PRIVATE_DIRECTORY: Final = 0o700
PRIVATE_FILE: Final = 0o600
MAX_KEPT: Final = 100_000
"""Adjustments; when there are more, the oldest are forgotten, which the log says."""
FORGOTTEN_AT_ONCE: Final = 10_000

log = logging.getLogger("spendgate.controlplane")


class AdjustmentJournal:
    """The file of a workspace in `directory`, for one process. Blocking: for the start, and for threads.

    Raises `OSError` for a directory that cannot be used, or that another process uses.
    """

    def __init__(self, directory: Path, workspace: str, *, now_ms: int) -> None:
        directory.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        self._path = directory / f"adjustments-{workspace}"
        self._lock = _locked(self._path.with_suffix(".lock"))
        self._kept = {entry.identity: entry for entry in _read(self._path)}
        self._file = -1
        self._write_anew(now_ms)

    def __iter__(self) -> Iterator[KeptAdjustment]:
        """Iterate over what is kept, oldest first."""
        return iter(list(self._kept.values()))

    def has(self, adjustment: Adjustment) -> bool:
        """Say whether an adjustment is kept already."""
        return (adjustment.user_id, adjustment.request_id) in self._kept

    def keep(self, adjustment: Adjustment, place: Place | None) -> None:
        """Put an adjustment that was done on the disk; raises `OSError` if that cannot be done."""
        entry = KeptAdjustment(adjustment, place)
        if len(self._kept) >= MAX_KEPT:
            self._make_room(entry.done_ms)
        start = os.lseek(self._file, 0, os.SEEK_END)
        try:
            _write_whole(self._file, encode_line(entry))
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, start)
            raise
        self._kept[entry.identity] = entry

    def close(self) -> None:
        """Free the file for another process."""
        os.close(self._file)
        os.close(self._lock)

    def _make_room(self, now_ms: int) -> None:
        self._forget_old(now_ms)
        surplus = list(self._kept)[: len(self._kept) - MAX_KEPT + FORGOTTEN_AT_ONCE]
        if surplus:
            log.error("the journal of adjustments is full: the oldest %d are forgotten", len(surplus))
        for identity in surplus:
            del self._kept[identity]
        self._write_anew(now_ms)

    def _forget_old(self, now_ms: int) -> None:
        self._kept = {identity: entry for identity, entry in self._kept.items() if entry.until_ms > now_ms}

    def _write_anew(self, now_ms: int) -> None:
        """Write the file without what is forgotten or damaged."""
        self._forget_old(now_ms)
        fresh = self._path.with_suffix(".new")
        descriptor = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, PRIVATE_FILE)
        _write_whole(descriptor, b"".join(map(encode_line, self._kept.values())))
        os.fsync(descriptor)
        fresh.rename(self._path)
        _sync_directory(self._path.parent)
        if self._file >= 0:
            os.close(self._file)
        self._file = descriptor


def _locked(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise OSError(f"{path.parent} is in use by another control plane: give each a directory of its own") from error
    return descriptor


def _read(path: Path) -> Iterator[KeptAdjustment]:
    lines = path.read_bytes().splitlines() if path.exists() else []
    for number, line in enumerate(lines, start=1):
        try:
            yield decode_line(line)
        except (ValueError, KeyError, TypeError):
            log.warning("line %d of %s is damaged: the adjustment in it is forgotten here", number, path)


def _write_whole(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
