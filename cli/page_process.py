"""The control plane beside the sidecar of `spendgate up`: a process of its own, so that neither slows the other."""

import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from cli.failure import CommandFailed
from cli.tether import tie_to_parent

STOP_DEADLINE_S: Final = 10.0


@dataclass(slots=True)
class PageProcess:
    """A running `spendgate controlplane`; `url` is where the page is. Use it as a context manager."""

    process: "subprocess.Popen[bytes]"
    url: str
    _stopping: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def start(cls, environment: Mapping[str, str]) -> Self:
        """Start it and wait until it serves. Raises `CommandFailed` when it ends instead; it has said why."""
        reading, writing = os.pipe()
        try:
            process = subprocess.Popen(  # noqa: S603 - a command of ours
                [sys.executable, "-m", "cli.main", "controlplane", "--ready-fd", str(writing)],
                env=dict(environment),
                pass_fds=[writing],
                preexec_fn=tie_to_parent(),  # noqa: PLW1509 - no threads run yet
            )
        finally:
            os.close(writing)
        with os.fdopen(reading) as pipe:
            url = pipe.readline().strip()
        if not url:
            process.wait()
            raise CommandFailed("the control plane did not start, see above; --no-page starts without it")
        return cls(process, url)

    def __enter__(self) -> Self:
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self.process.terminate()
        try:
            self.process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _watch(self) -> None:
        """Tell when it ends by itself: decisions go on, but nobody can change a rule."""
        code = self.process.wait()
        if not self._stopping.is_set():
            print(
                f"spendgate: the control plane has ended (exit code {code}); the sidecar goes on with its rules",
                file=sys.stderr,
                flush=True,
            )
