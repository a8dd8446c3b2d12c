"""A store whose append-only file is cut while it is down, as a power loss cuts what was not on disk yet."""

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import start_server, stop_server, valkey_binary

OPTIONS = ("--appendonly", "yes", "--appendfsync", "everysec", "--auto-aof-rewrite-percentage", "0")


def cut_newest(directory: Path, percent: int) -> int:
    """Cut the last part of what a server in `directory` did since its first start; returns how many bytes that were."""
    log = next((directory / "appendonlydir").glob("*.incr.aof"))
    size = log.stat().st_size
    with log.open("r+b") as file:
        file.truncate(size - size * percent // 100)
    return size * percent // 100


class CutStore:
    """A Valkey on a Unix socket in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.url = f"unix://{directory}/s"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it on its files."""
        self._process = start_server(valkey_binary(), self._directory, *OPTIONS)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            stop_server(self._process)
            self._process = None

    def cut(self, percent: int) -> int:
        """Cut the last part of what it did since its first start; returns how many bytes that were."""
        return cut_newest(self._directory, percent)


@contextlib.contextmanager
def cut_store() -> Iterator[CutStore]:
    """Provide such a store in a directory of its own; nothing of it is left."""
    with tempfile.TemporaryDirectory(prefix="sg-") as name:
        store = CutStore(Path(name))
        store.start()
        try:
            yield store
        finally:
            store.kill()
