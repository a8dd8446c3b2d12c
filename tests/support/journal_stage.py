"""A journal over a ledger in memory whose lineage a test sets, so that it loses what the test says."""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from ledger.decisions import Decision, Operation, Outcome, Reason
from ledger.errors import StoreUnavailable
from ledger.operations import Admission
from ledger.places import Lineage, Place
from ledger.restores import Restore, Restored
from sidecar.done_operations import Replan
from sidecar.journal import Journal
from sidecar.journal_entries import DoneBatch, Reader, Row, Writer
from sidecar.journal_files import open_journal
from sidecar.journal_replay import Replayer
from tests.support.ledger_under_test import NOON_MS, Caller, memory_under_test, rules, template
from tests.support.patience import KEPT_WITHIN_S

GONE = StoreUnavailable("gone")


@contextlib.asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[Journal]:
    """Open the first free journal of a directory."""
    async with open_journal(
        directory, max_bytes=1 << 20, now_ms=lambda: NOON_MS, landing_ms=250, kept_within_s=KEPT_WITHIN_S
    ) as journal:
        yield journal


class Stage:
    """A ledger in memory with a lineage that a test sets, a caller, and a replayer of a journal.

    With several partitions a user is in that of the number at the end of the name. Those in `away` are known not to
    answer, those in `silent` do not tell their lineage.
    """

    def __init__(self, *, partitions: int = 1) -> None:
        self.partitions = partitions
        self.away: set[int] = set()
        self.silent: set[int] = set()
        self.under_test = memory_under_test()
        self.caller = Caller(self.under_test, rules(template("free", 1000), template("pro", 5)))
        self.lineage = Lineage("first", {})
        self.places: list[Place | None] = [None] * partitions
        self.restore = self.under_test.ledger.restore
        self.is_reachable = True

    def check(self, usd: float = 1, **changes: Any) -> Admission:
        """Return a check of the tier free."""
        return self.caller.admission(Operation.CHECK, usd, tier="free", **changes)

    def decision(self, admission: Admission, *, allowed: bool) -> Decision:
        """Return what the failure policy says."""
        outcome = Outcome.ALLOW if allowed else Outcome.BLOCK
        call = (admission.operation, admission.request_id, admission.user_id, "free")
        return Decision(*call, outcome, Reason.STORE_UNAVAILABLE, (), None, 1, NOON_MS, degraded=True)

    async def replay(self, journal: Journal, *, at_ms: int = NOON_MS) -> dict[Restored, int]:
        """Replay once; returns what was counted."""
        counted: Counter[Restored] = Counter()
        await self.replayer(journal, [at_ms], counted).replay()
        return dict(counted)

    def replayer(self, journal: Journal, clock: list[int], counted: "Counter[Restored] | None" = None) -> Replayer:
        """Return a replayer that counts what came of it; its time is the first of `clock`, Unix milliseconds."""
        counts = Counter[Restored]() if counted is None else counted
        return Replayer(
            journal,
            _Ledger(self),
            partitions=self.partitions,
            now_ms=lambda: clock[0],
            is_reachable=lambda partition: self.is_reachable and partition not in self.away,
            record=lambda result, number: counts.update({result: number}),
        )


class _Ledger:
    """The ledger of a stage, as a replayer sees it."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.places = stage.places
        self.restore = stage.restore
        self.resolve = stage.under_test.ledger.resolve

    def partition_of(self, user_id: str) -> int:
        return int(user_id[-1]) if self._stage.partitions > 1 else 0

    async def lineage(self, partition: int) -> Lineage:
        if partition in self._stage.silent:
            raise GONE
        return self._stage.lineage


def restored(rows: Sequence[Row]) -> Restore:
    """Return the only operation of a batch as it is read again."""
    told = Reader().read(Writer().batch(0, Place("l", 7), rows))
    assert isinstance(told, DoneBatch)
    (operation,) = told.operations
    return operation


def replan_of(stage: Stage) -> Replan:
    """Return what makes plans of other times."""
    return lambda user_id, tier, at_ms: stage.caller.plan(user_id, tier, at_ms=at_ms)


async def admit(
    stage: Stage, journal: Journal, number: int, admissions: Sequence[Admission], *, partition: int = 0
) -> None:
    """Let the ledger decide and note it at a place of the first lineage."""
    answers = await stage.under_test.ledger.admit(admissions)
    journal.note_admissions(partition, Place("first", number), admissions, answers)
