"""Settles and releases that wait for their sidecar, on disk: they outlive the process, and the next one sends them.

Each process writes a file of its own and holds its lock. A file whose lock is free was left by a process that ended:
whoever finds it takes it over. A record that is sent twice is charged once, for the sidecar knows its request id.
"""

import hashlib
import logging
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from spendgate._calls import Call
from spendgate._journal_file import SUFFIX, JournalFile, Line

MAX_FILE_BYTES: Final = 16 * 1024 * 1024
MAX_UNWRITTEN: Final = 10_000
"""So many records are kept in memory where the disk does not take them."""
MAX_TAKEN_FILES: Final = 100

log = logging.getLogger("spendgate")

Key = tuple[str, str, str]


class Journal:
    """What waits, in memory and on disk. Used by one thread at a time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.after_fork()

    def after_fork(self) -> None:
        """Begin with nothing: what the parent wrote is the parent's. Only the copy of its descriptor is closed."""
        inherited: JournalFile | None = getattr(self, "_file", None)
        if inherited is not None:
            inherited.let_go()
        self._file: JournalFile | None = None
        self._waiting: dict[Key, Call] = {}
        self._unwritten = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def waiting(self) -> list[Call]:
        """Return what waits, in the order in which it came."""
        return list(self._waiting.values())

    def add(self, call: Call) -> None:
        """Keep a call; on return it is on disk. If the disk does not take it that is said, and it stays in memory."""
        key = _key(call)
        if key in self._waiting:
            return
        try:
            self._append(call)
        except OSError as error:
            if self._unwritten == MAX_UNWRITTEN:
                log.log(logging.ERROR, "LOST: %s, neither disk nor memory takes it: %s", call, call.fields)
                return
            self._unwritten += 1
            log.log(logging.ERROR, "%s is kept in memory only: %s: %s", call, error, call.fields)
        self._waiting[key] = call

    def remove(self, call: Call) -> None:
        """Forget a call that was delivered."""
        if self._waiting.pop(_key(call), None) is None or self._file is None:
            return
        try:
            if self._waiting:
                self._file.append({"done": list(_key(call))}, durable=False)
            else:
                self._unwritten = 0
                self._file.empty()
        except OSError as error:  # it will be sent once more, which changes nothing
            log.warning("the journal could not be shortened: %s", error)

    def take_over(self) -> None:
        """Take what processes left that have ended."""
        for path in self._files()[:MAX_TAKEN_FILES]:
            if self._file is not None and path == self._file.path:
                continue
            try:
                self._take(path)
            except OSError as error:
                log.warning("%s could not be taken over: %s", path, error)

    def check(self) -> None:
        """Say at once if nothing could be written down here, not only when there is something."""
        nearest = next((path for path in (self._directory, *self._directory.parents) if path.exists()), None)
        if nearest is None or not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
            log.warning("%s cannot be written: name another journal_dir, or settles may be lost", self._directory)

    def has_files(self) -> bool:
        """Say whether there are files, of living processes or of those that ended."""
        return bool(self._files())

    def close(self) -> None:
        """Leave what waits to the next process."""
        file, self._file = self._file, None
        if file is None:
            return
        if self._waiting:
            log.warning("%d records wait in %s for the next process", len(self._waiting), file.path)
            file.let_go()
        else:
            file.remove()

    def _files(self) -> list[Path]:
        try:
            return sorted(self._directory.glob(f"*{SUFFIX}"))
        except OSError:
            return []

    def _append(self, call: Call) -> None:
        line = _line(call)
        if self._file is None:
            self._file = JournalFile.create(self._directory)
        elif self._file.size >= MAX_FILE_BYTES:
            self._write_anew(self._file)
        if self._file.size >= MAX_FILE_BYTES:
            raise OSError(f"the journal has reached {MAX_FILE_BYTES} bytes")
        self._file.append(line, durable=True)

    def _write_anew(self, old: JournalFile) -> None:
        """Write what still waits to a new file, without what was delivered."""
        fresh = JournalFile.create(self._directory)
        fresh.append(*(_line(call) for call in self._waiting.values()), durable=True)
        self._file = fresh
        old.remove()

    def _take(self, path: Path) -> None:
        left = JournalFile.take_over(path)
        if left is None:
            return
        calls = list(_undelivered(left))
        if calls:
            log.warning("%d records of a process that ended are taken over from %s", len(calls), path.name)
        for call in calls:
            self.add(call)
        left.remove()


def directory_for(journal_dir: str | os.PathLike[str] | None, url: str) -> Path:
    """Return where records for a sidecar wait.

    That is `journal_dir`, else ``SPENDGATE_JOURNAL_DIR``, as they are; else, under ``XDG_STATE_HOME`` or
    ``~/.local/state``, a directory for each sidecar, so that no record goes to another one.
    """
    named = journal_dir or os.environ.get("SPENDGATE_JOURNAL_DIR")
    if named:
        return Path(named)
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")  # noqa: PTH111 - never raises
    return Path(state) / "spendgate" / hashlib.sha256(url.encode()).hexdigest()[:16]


def _undelivered(file: JournalFile) -> Iterator[Call]:
    calls: dict[Key, Call] = {}
    for line in file.read():
        if line is None:
            log.warning("%s has a damaged line, which is left out", file.path.name)
        elif "done" in line:
            calls.pop(tuple(line["done"]), None)
        else:
            call = _call(line)
            calls[_key(call)] = call
    yield from calls.values()


def _key(call: Call) -> Key:
    return call.operation, call.user_id, call.request_id


def _line(call: Call) -> Line:
    return {"operation": call.operation, "fields": call.fields, "made_at": call.made_at.isoformat()}


def _call(line: Line) -> Call:
    made_at = datetime.fromisoformat(line["made_at"]).astimezone(UTC)
    return Call(operation=line["operation"], fields=line["fields"], made_at=made_at)
