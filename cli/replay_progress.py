"""The progress of a replay: a bar on a terminal, a line every tenth elsewhere."""

from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINES_WITHOUT_TERMINAL: Final = 10


class ReplayProgress:
    """Counts finished calls of a known total. Use it as a context."""

    def __init__(self, console: Console, *, total: int) -> None:
        self._console = console
        self._total = total
        self._done = 0
        self._bar = Progress(
            TextColumn("Replaying"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("replay", total=total)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._bar.stop()

    def advance(self) -> None:
        """Count one finished call."""
        self._done += 1
        self._bar.advance(self._task)
        if not self._console.is_terminal and self._passes_a_tenth():
            self._console.print(f"{self._done:,} of {self._total:,} calls", highlight=False)

    def _passes_a_tenth(self) -> bool:
        tenths, before = (done * LINES_WITHOUT_TERMINAL // self._total for done in (self._done, self._done - 1))
        return tenths > before
