"""Allowances over a log in memory, whose writes tests let succeed, fail, or be lost in a crash."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from sidecar.allowance import Allowance
from sidecar.append_log import LogUnavailable
from tests.support.patience import KEPT_WITHIN_S


@dataclass(slots=True)
class Waiting:
    """An entry that is not kept yet; without `written` nobody waits for it."""

    entry: bytes
    written: "asyncio.Future[None] | None" = None
    undo: Callable[[], None] | None = None


@dataclass(slots=True)
class MemoryLog:
    """As `sidecar.append_log.AppendLog` keeps entries: in order, in groups. `is_instant`: each at once."""

    is_instant: bool = True
    kept: list[bytes] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)

    async def append(self, entry: bytes, *, undo: Callable[[], None] | None = None) -> None:
        """Keep an entry."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append(Waiting(entry, written, undo))
        if self.is_instant:
            self.succeed()
        await asyncio.shield(written)

    def write(self, entry: bytes) -> None:
        """Keep an entry soon."""
        self.waiting.append(Waiting(entry))
        if self.is_instant:
            self.succeed()

    def succeed(self) -> None:
        """Keep everything that waits."""
        group, self.waiting = self.waiting, []
        for each in group:
            self.kept.append(each.entry)
            if each.written is not None and not each.written.done():
                each.written.set_result(None)

    def fail(self) -> None:
        """Keep nothing of what waits, and tell those who wait; what nobody waits for is tried again."""
        group, self.waiting = self.waiting, []
        self.waiting[:0] = [each for each in group if each.written is None]
        for each in group:
            if each.written is not None and each.undo is not None and not each.written.done():
                each.undo()
                each.written.set_exception(LogUnavailable("the disk is full"))
                each.written.exception()

    def crash(self, survivors: int) -> list[bytes]:
        """Return what a restart finds: what was kept, and by chance the first of what was being written."""
        return [*self.kept, *[each.entry for each in self.waiting[:survivors]]]


def memory_allowance(
    now_ms: Callable[[], int], log: MemoryLog | None = None, *, kept_within_s: float = KEPT_WITHIN_S
) -> Allowance:
    """Return an allowance that keeps what is taken in memory."""
    allowance = Allowance(now_ms=now_ms, kept_within_s=kept_within_s)
    allowance.keep_in(log or MemoryLog())
    return allowance
