"""Reads journals from outside: what stands in one, and all of it done again in a store. For a stopped sidecar's too."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ledger.restores import Restore, RestoreKind
from sidecar.journal import lost_operations
from sidecar.journal_entries import Closed, DoneBatch, OpenOperation, Reader
from sidecar.journal_replay import RestoringLedger, batched_by_partition
from sidecar.log_segments import DamagedFile, list_segments, read_entries, read_state

ENTRIES_AT_A_TIME = 1000


@dataclass(slots=True)
class JournalReport:
    """One journal: its files, what they hold by kind, when that was (Unix ms), what waits, and where it is damaged."""

    directory: Path
    files: int
    size: int
    done: Counter[RestoreKind] = field(default_factory=Counter)
    open: Counter[RestoreKind] = field(default_factory=Counter)
    oldest_ms: int | None = None
    newest_ms: int | None = None
    damages: list[str] = field(default_factory=list)
    unreadable: int = 0


def inspect_journal(directory: Path) -> JournalReport:
    """Read a journal, blocking; a sidecar that writes it is not disturbed. Raises `OSError`."""
    segments = list_segments(directory)
    report = JournalReport(directory, len(segments), sum(segment.path.stat().st_size for segment in segments))
    reader = Reader()
    for entry in read_entries(directory):
        if isinstance(entry, DamagedFile):
            report.damages.append(str(entry))
            continue
        told = reader.read(entry)
        if isinstance(told, DoneBatch):
            for operation in told.operations:
                report.done[operation.kind] += 1
                _note_time(report, operation)
        elif isinstance(told, OpenOperation):
            _note_time(report, told.operation)
    report.open = Counter(operation.kind for operation in open_operations(directory))
    report.unreadable = reader.unreadable + reader.unknown_plans
    return report


def open_operations(directory: Path) -> list[Restore]:
    """Return what the store has not acknowledged, oldest first."""
    reader, state = Reader(), read_state(directory)
    found: dict[int, Restore] = {}
    for entry in [*state.checkpoint, *state.entries]:
        told = reader.read(entry)
        if isinstance(told, OpenOperation):
            found[told.id] = told.operation
        elif isinstance(told, Closed):
            found.pop(told.id, None)
    return list(found.values())


async def replay_directory(directory: Path, ledger: RestoringLedger) -> Counter[str]:
    """Do everything of a journal again; returns what came of it. Raises `StoreError` and `OSError`.

    What waits for a hold is tried once more at the end; refusals are logged only if they still wait.
    """
    results: Counter[str] = Counter()
    missing: list[Restore] = []
    denials = [each for each in open_operations(directory) if each.kind is RestoreKind.DENY]
    for operations in [*_everything(directory), denials]:
        async for restore, result in _restore(ledger, operations):
            if result == "missing":
                missing.append(restore)
            else:
                results[result] += 1
    async for _, result in _restore(ledger, missing):
        results[result] += 1
    return results


def _everything(directory: Path) -> list[list[Restore]]:
    reader = Reader()
    entries = [entry for entry in read_entries(directory) if isinstance(entry, bytes)]
    state = read_state(directory)  # What still waits may have been told in a file that is gone: the checkpoint has it.
    starts = range(0, len(entries), ENTRIES_AT_A_TIME)
    chunks = [state.checkpoint, *(entries[start : start + ENTRIES_AT_A_TIME] for start in starts)]
    return [lost_operations(chunk, reader, lambda _partition, _place: False) for chunk in chunks]


async def _restore(ledger: RestoringLedger, restores: Sequence[Restore]) -> AsyncIterator[tuple[Restore, str]]:
    for chunk in batched_by_partition(restores, ledger.partition_of):
        for restore, result in zip(chunk, await ledger.restore(chunk), strict=True):
            yield restore, result


def _note_time(report: JournalReport, operation: Restore) -> None:
    report.oldest_ms = min(report.oldest_ms or operation.at_ms, operation.at_ms)
    report.newest_ms = max(report.newest_ms or operation.at_ms, operation.at_ms)
