"""Brings the journal to the store: what it has not acknowledged, and after a loss of its data all that was lost.

Everything is done under its own id, so that it counts once, whoever else replays it and however often.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, TypeVar

from ledger.decisions import Operation
from ledger.errors import StoreError, StoreUnavailable
from ledger.operations import Resolution, Resolved
from ledger.places import Lineage, Place
from ledger.restores import Restore, Restored, RestoreKind
from sidecar.journal import Journal, lost_operations
from sidecar.journal_entries import Reader
from sidecar.log_frames import Damage, FrameKind
from sidecar.log_segments import Segment, list_segments

BATCH: Final = 24
PORTION: Final = 4096
"""Operations of a backlog that are looked at in one turn of the event loop; live calls wait meanwhile."""
LOOK_EVERY_S: Final = 0.5
"""How often the store is asked whether its data is still the same; an answer that shows another is noticed at once."""
RETRY_S: Final = 0.1
"""After a failure, if the breaker still lets the store be asked."""
LOOKED_AT: Final = 64
"""Partitions that are asked about at a time."""
ANSWER_S: Final = 2.0
WAIT_FOR_HOLD_MS: Final = 15 * 60 * 1000
"""How long the end of a hold waits for the hold, which another sidecar's journal may bring, once the store answers."""
SETTLED: Final = frozenset({Restored.APPLIED, Restored.KNOWN, Restored.CONFLICT, Restored.TOO_OLD})

Answer = TypeVar("Answer")

log = logging.getLogger("spendgate.journal")


class RestoringLedger(Protocol):
    """What of the ledger a replay needs; see `ledger.redis_ledger.RedisLedger`."""

    places: list[Place | None]
    """Of each partition the place of the last run."""

    def partition_of(self, user_id: str) -> int:
        """Return the partition of a user."""
        ...

    async def restore(self, restores: Sequence[Restore]) -> list[Restored]:
        """Do operations of one partition again."""
        ...

    async def resolve(self, resolutions: Sequence[Resolution]) -> list[Resolved]:
        """Settle holds of one partition."""
        ...

    async def lineage(self, partition: int) -> Lineage:
        """Return the lineage of a partition's data."""
        ...


@dataclass(slots=True)
class Recovery:
    """How far each partition's loss is made good: of which lineage, and which closed files need no second look.

    A pass that the store ends halfway goes on there, and opens nothing for a second time. `failed` has the partitions
    for which it has ended in this pass: the others go on.
    """

    lineages: dict[int, str] = field(default_factory=dict)
    done: dict[int, set[Path]] = field(default_factory=dict)
    opened: set[tuple[str, ...]] = field(default_factory=set)
    failed: dict[int, StoreError] = field(default_factory=dict)

    def begin(self, lost: Mapping[int, Lineage]) -> None:
        """Begin a pass over what partitions have lost; one that has another lineage by now begins anew."""
        for partition, lineage in lost.items():
            if self.lineages.get(partition) != lineage.current:
                self.lineages[partition], self.done[partition] = lineage.current, set()

    def wants(self, partition: int, path: Path) -> bool:
        """Say whether a file has to be looked through for a partition."""
        return partition not in self.failed and path not in self.done[partition]

    def end(self, lost: Iterable[int], path: Path) -> None:
        """Note that everything of a closed file was done again, but for the partitions that have failed."""
        for partition in lost:
            if partition not in self.failed:
                self.done[partition].add(path)


class Replayer:
    """Runs beside the lanes. `is_reachable` says whether a partition's store may be asked; `record` counts results.

    `has_looked` is set once everything that can be reached was looked at for the first time, and made good.
    """

    def __init__(
        self,
        journal: Journal,
        ledger: RestoringLedger,
        *,
        partitions: int,
        now_ms: Callable[[], int],
        is_reachable: Callable[[int], bool],
        record: Callable[[Restored, int], None],
    ) -> None:
        self._journal = journal
        self._ledger = ledger
        self._partitions = partitions
        self._now_ms = now_ms
        self._is_reachable = is_reachable
        self._record = record
        self.has_looked = asyncio.Event()
        self._wake = asyncio.Event()
        self._next = 0
        self._missing_since_ms: dict[int, int] = {}
        self._recovery = Recovery()
        self._is_failing = False

    def wake(self) -> None:
        """Look at once: something has changed."""
        self._wake.set()

    async def run(self) -> None:
        """Replay whenever there is something to, until cancelled."""
        while True:
            self._wake.clear()
            try:
                await self.replay()
            except StoreError as error:
                if not self._is_failing:
                    log.info("the journal waits for the store: %s", error)
                self._is_failing = True
                await asyncio.sleep(RETRY_S)
            else:
                self._is_failing = False
                self.has_looked.set()
            await self._until_next()

    async def replay(self) -> None:
        """Bring everything to the store that it does not have, as far as it answers.

        Each partition on its own, for each may be on another server. Raises `StoreError` if one of them has failed.
        """
        self._recovery.failed = {}
        lost: dict[int, Lineage] = {}
        for partition in self._to_look_at():
            try:
                lineage = await _bounded(self._ledger.lineage(partition))
            except StoreError as error:
                self._recovery.failed[partition] = error
                continue
            if partition not in self._journal.recovering and self._has_all(partition, lineage):
                self._note_as_there(partition, lineage)
            else:
                self._journal.recovering.add(partition)
                lost[partition] = lineage
        if lost:
            await self._recover(lost)
        await self._replay_open()
        if self._recovery.failed:
            raise next(iter(self._recovery.failed.values()))

    def _has_all(self, partition: int, lineage: Lineage) -> bool:
        """Say whether the data of a partition has everything that was journaled of it, also what was told late."""
        known, last = self._journal.known.get(partition), self._journal.last.get(partition)
        if known not in {None, lineage.current} and (last is None or not lineage.has(last)):
            return False
        return self._has_stray(partition, lineage)

    def _has_stray(self, partition: int, lineage: Lineage) -> bool:
        return all(lineage.has(Place(*place)) for place in self._journal.stray.get(partition, {}).items())

    def _note_as_there(self, partition: int, lineage: Lineage) -> None:
        """Note that nothing is lost up to here."""
        number = self._journal.stray.pop(partition, {}).get(lineage.current)
        if self._journal.known.get(partition) != lineage.current:
            self._journal.know(partition, lineage.current)
        if number is not None:
            self._journal.look_at(partition, Place(lineage.current, number))

    def _to_look_at(self) -> list[int]:
        """Return the partitions whose turn it is, and those that are not what they were."""
        turn = [(self._next + number) % self._partitions for number in range(min(LOOKED_AT, self._partitions))]
        self._next = (self._next + len(turn)) % self._partitions
        return [partition for partition in {*turn, *self._journal.recovering} if self._is_reachable(partition)]

    async def _until_next(self) -> None:
        try:
            async with asyncio.timeout(LOOK_EVERY_S):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _recover(self, lost: dict[int, Lineage]) -> None:
        """Do again what partitions have lost; until then their limits are not known."""
        log.warning("the store's data has changed under this sidecar: the journal looks for what was lost")
        self._journal.on_change()
        for partition in lost:  # What was noted so far is read below.
            self._journal.stray.pop(partition, None)
        await self._journal.log.flush()
        reader = Reader()
        counted = await self._do_lost_again(lost, reader)
        for partition, lineage in lost.items():
            if partition in self._recovery.failed:
                continue  # The next pass goes on with it.
            if self._has_stray(partition, lineage):
                self._journal.know(partition, lineage.current, self._ledger.places[partition])
            else:
                self.wake()  # An answer of before the loss has come after its file was read: once more.
        told = ", ".join(f"{number} {result}" for result, number in counted.items() if number)
        log.warning("what the store had lost was done again: %s", told or "nothing")
        if reader.unknown_plans:
            log.error("%d operations cannot be done again: their plans were damaged", reader.unknown_plans)

    async def _do_lost_again(self, lost: dict[int, Lineage], reader: Reader) -> dict[Restored, int]:
        """Go through the journal's files; returns what came of the operations that were lost."""
        recovery = self._recovery
        recovery.begin(lost)
        counted = dict.fromkeys(Restored, 0)

        def survives(partition: int, place: Place) -> bool:
            return partition not in lost or lost[partition].has(place)

        segments = list_segments(self._journal.directory)
        for segment in segments:
            operations = await asyncio.to_thread(_lost_of, segment, reader, survives, self._journal.open.__contains__)
            wanting = {partition for partition in lost if recovery.wants(partition, segment.path)}
            wanted = [each for each in operations if self._ledger.partition_of(each.user_id) in wanting]
            async for restore, result in self._restore(wanted, insists=True):
                counted[result] += 1
                if result is Restored.MISSING:
                    await self._wait_for_hold(restore)
            if segment is not segments[-1]:
                recovery.end(lost, segment.path)
        return counted

    async def _replay_open(self) -> None:
        """Do what the store has not acknowledged, oldest first, and let live calls come between two portions."""
        if not any(map(self._is_reachable, range(self._partitions))):
            return
        self._missing_since_ms = {
            number: at_ms
            for number, at_ms in self._missing_since_ms.items()
            if (restore := self._journal.open.get(number)) is not None and self._may_be_asked(restore)
        }
        numbers = list(self._journal.open)
        for start in range(0, len(numbers), PORTION):
            await self._replay_portion(numbers[start : start + PORTION])
            await asyncio.sleep(0)

    async def _replay_portion(self, numbers: Sequence[int]) -> None:
        """Do some of what is open; each batch is closed once it is done, for a stop or a failure may come any time."""
        found = [(number, self._journal.open.get(number)) for number in numbers]
        waiting = {
            id(restore): (number, restore)
            for number, restore in found
            if restore is not None and self._may_be_asked(restore)
        }
        done: list[int] = []
        try:
            async for restore, result in self._restore([restore for _, restore in waiting.values()]):
                number, _ = waiting[id(restore)]
                if result in SETTLED or (result is Restored.MISSING and await self._has_ended(number, restore)):
                    done.append(number)
                if result is Restored.CONFLICT:
                    log.error("a call of the journal is not what the store has under its id: %s", restore.request_id)
                if len(done) >= BATCH:
                    self._journal.close(done)
                    done = []
        finally:
            self._journal.close(done)

    def _may_be_asked(self, restore: Restore) -> bool:
        """Say whether the store answers, and whether nothing that was lost is still to be done before the rest."""
        partition = self._ledger.partition_of(restore.user_id)
        return self._is_reachable(partition) and partition not in self._recovery.failed

    async def _wait_for_hold(self, restore: Restore) -> None:
        """Have an end of a hold wait among what the store has not acknowledged, once."""
        call = (restore.user_id, restore.request_id)
        name = (restore.kind, *call, restore.sent)
        if name in self._recovery.opened and self._journal.has_open(*call):
            return
        self._recovery.opened.add(name)
        if not self._journal.open_again(restore):
            await self._end_without_hold(restore)

    async def _has_ended(self, number: int, restore: Restore) -> bool:
        """Say whether an end has waited long enough for its hold, which ends it."""
        now_ms = self._now_ms()
        if now_ms - self._missing_since_ms.setdefault(number, now_ms) < WAIT_FOR_HOLD_MS:
            return False
        await self._end_without_hold(restore)
        return True

    async def _end_without_hold(self, restore: Restore) -> None:
        """Have the store keep the amount of a settle that belongs to no hold."""
        log.error("the hold of a %s is not known to any journal: %s", restore.kind, restore.request_id)
        if restore.kind is RestoreKind.SETTLE:
            settle = Resolution(
                operation=Operation.SETTLE,
                user_id=restore.user_id,
                request_id=restore.request_id,
                amount_nanos=restore.amount_nanos,
                sent=restore.sent,
                model=restore.model,
            )
            await _bounded(self._ledger.resolve([settle]))

    async def _restore(
        self, restores: Iterable[Restore], *, insists: bool = False
    ) -> AsyncIterator[tuple[Restore, Restored]]:
        """Yield each operation and what came of it, in their order within a partition.

        Who insists goes on with the other partitions when the store of one has gone.
        """
        for chunk in batched_by_partition(restores, self._ledger.partition_of):
            partition = self._ledger.partition_of(chunk[0].user_id)
            if partition in self._recovery.failed:
                continue
            try:
                results = await (self._insist(partition, chunk) if insists else self._do_again(partition, chunk))
            except StoreError as error:
                if not insists:
                    raise
                self._recovery.failed[partition] = error
                continue
            for restore, result in zip(chunk, results, strict=True):
                self._record(result, 1)
                yield restore, result

    async def _do_again(self, partition: int, chunk: list[Restore]) -> list[Restored]:
        results = await _bounded(self._ledger.restore(chunk))
        place = self._ledger.places[partition]  # Losing what was done again is losing it once more.
        if place is not None:
            self._journal.look_at(partition, place)
        return results

    async def _insist(self, partition: int, chunk: list[Restore]) -> list[Restored]:
        """Do operations again until there is an answer, as long as the store is one that may be asked."""
        while True:
            try:
                return await self._do_again(partition, chunk)
            except StoreError:
                if not self._is_reachable(partition):
                    raise
                await asyncio.sleep(RETRY_S)


def batched_by_partition(restores: Iterable[Restore], partition_of: Callable[[str], int]) -> Iterator[list[Restore]]:
    """Yield lists of at most `BATCH` operations of one partition, in their order."""
    by_partition: dict[int, list[Restore]] = {}
    for restore in restores:
        by_partition.setdefault(partition_of(restore.user_id), []).append(restore)
    for operations in by_partition.values():
        for start in range(0, len(operations), BATCH):
            yield operations[start : start + BATCH]


def _lost_of(
    segment: Segment, reader: Reader, survives: Callable[[int, Place], bool], is_open: Callable[[int], bool]
) -> list[Restore]:
    frames = [frame for frame in segment.read() if not isinstance(frame, Damage)]
    entries = [frame.data for frame in frames if frame.kind is not FrameKind.CHECKPOINT_END]
    return lost_operations(entries, reader, survives, is_open)


async def _bounded(answer: Awaitable[Answer]) -> Answer:
    try:
        async with asyncio.timeout(ANSWER_S):
            return await answer
    except TimeoutError:
        raise StoreUnavailable("the store did not answer in time") from None
