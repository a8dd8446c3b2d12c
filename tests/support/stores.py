"""A store as a process of its own that tests freeze, kill and start again on the same files."""

import contextlib
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.conftest import start_server, stop_server, valkey_binary

EVERY_SECOND: Final = "everysec"
ALWAYS: Final = "always"
"""With `everysec` a server whose disk is busy puts off writing what it has acknowledged, for up to 2 seconds: a SIGKILL
loses it then. A test that kills and needs all of it back says `ALWAYS`."""


class StoreProcess:
    """A Valkey on a Unix socket in `directory`; `url` is right before it starts and after it was killed."""

    def __init__(self, directory: Path, *, appendfsync: str = EVERY_SECOND) -> None:
        self.url = f"unix://{directory}/s"
        self._durable = ("--appendonly", "yes", "--appendfsync", appendfsync)
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it on its files, which it reads and appends to."""
        self._process = start_server(valkey_binary(), self._directory, *self._durable)

    def freeze(self) -> None:
        """Stop it in its tracks: it still accepts connections and commands, and does nothing with them."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on where it was, with everything that was sent meanwhile."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once; what it had not written to its files is lost."""
        if self._process is not None:
            stop_server(self._process)
            self._process = None

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)


@contextlib.contextmanager
def store_process(*, started: bool = True, appendfsync: str = EVERY_SECOND) -> Iterator[StoreProcess]:
    """Provide a store in a directory of its own; nothing of it is left."""
    with tempfile.TemporaryDirectory(prefix="sg-") as name:
        store = StoreProcess(Path(name), appendfsync=appendfsync)
        try:
            if started:
                store.start()
            yield store
        finally:
            store.kill()
