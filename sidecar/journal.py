"""The journal of a sidecar: every operation that changed the ledger, and what the store has not acknowledged yet.

Calls that are allowed without the store, settles that it has not acknowledged, and voids are on disk before they are
answered. What the store has acknowledged follows within a tenth of a second: it is needed only if the store loses it
(`sidecar.journal_replay`). ``docs/reliability.md`` says what is kept for how long.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, starmap
from pathlib import Path
from typing import Final

from ledger.decisions import Decision, HoldState, Operation, Outcome, Reason, Settlement
from ledger.errors import StoreError, StoreFull, StoreNotAsked, StoreOverloaded
from ledger.operations import Admission, Admitted, Resolution, Resolved
from ledger.places import Place
from ledger.plans import compile_plan
from ledger.restores import Restore, RestoreKind
from ledger.rules import EMPTY_RULE_SET
from sidecar.append_log import AppendLog, LogLimits, LogUnavailable
from sidecar.done_operations import Replan, done_admissions, done_resolutions
from sidecar.journal_entries import (
    Closed,
    DoneBatch,
    KnownLineage,
    OpenOperation,
    Reader,
    Row,
    Writer,
    closed_entry,
    lineage_entry,
    open_entry,
    restore_of_admission,
    restore_of_resolution,
)
from sidecar.log_segments import LogState

MAX_OPEN: Final = 100_000
"""Operations that the store has not acknowledged; with more, nothing is allowed or accepted without it."""
MAX_OPEN_REFUSALS: Final = MAX_OPEN // 2
"""With more, refusals are not kept for the log any more: they make room for what is money."""
REFUSALS: Final = frozenset({RestoreKind.DENY, RestoreKind.VOID})
KEPT_WITHIN_S: Final = 0.25
"""A disk that takes longer, and longer than a decision may, keeps no caller waiting: the call is refused."""
SEGMENT_BYTES: Final = 4 << 20
KEEP_S: Final = 25 * 3600.0
"""Records are kept 24 hours after the store has acknowledged them; files hold up to an hour of them."""
NEVER_SENT: Final = (StoreNotAsked, StoreOverloaded, StoreFull)

log = logging.getLogger("spendgate.journal")


def journal_limits(max_bytes: int) -> LogLimits:
    """Return the bounds of a journal's files."""
    return LogLimits(max_bytes=max_bytes, segment_bytes=SEGMENT_BYTES, keep_s=KEEP_S)


class Journal:
    """See the module. `now_ms` is the store's time as this process knows it; `landing_ms` bounds how late a call lands.

    An answer waits for the disk `kept_within_s` at most.

    `open` has what the store has not acknowledged, oldest first; `known` the lineage of each partition up to which
    everything is in the store's data, and `last` the last place that was noted in it since; `recovering` has the
    partitions that have lost some of it; `stray` the last place of each other lineage in which something was noted.
    `on_change` is called when any of them changed, `on_work` when there is something to replay, `on_failure` when
    something could not be kept; `replan` is asked for the plans of other times.
    """

    def __init__(
        self,
        directory: Path,
        *,
        limits: LogLimits,
        now_ms: Callable[[], int],
        landing_ms: int,
        kept_within_s: float = KEPT_WITHIN_S,
    ) -> None:
        self.directory = directory
        self.open: dict[int, Restore] = {}
        self.known: dict[int, str] = {}
        self.recovering: set[int] = set()
        self.last: dict[int, Place] = {}
        self.stray: dict[int, dict[str, int]] = {}
        self.on_change: Callable[[], None] = lambda: None
        self.on_failure: Callable[[], None] = lambda: None
        self.on_work: Callable[[], None] = lambda: None
        self.replan: Replan = partial(compile_plan, EMPTY_RULE_SET)
        self.log = AppendLog(directory, limits=limits, checkpoint=self._checkpoint)
        self._now_ms = now_ms
        self._landing_ms = landing_ms
        self._kept_within_s = kept_within_s
        self._last_id = now_ms() * 1000  # So that no process ever uses the number of another one.
        self._open_calls: Counter[tuple[str, str]] = Counter()
        self._refusals = 0
        self._writer = Writer()

    def take_over(self, state: LogState) -> None:
        """Take over what an earlier process has left, before anything is asked."""
        reader = Reader()
        for entry in [*state.checkpoint, *state.entries]:
            told = reader.read(entry)
            if isinstance(told, OpenOperation):
                self._last_id = max(self._last_id, told.id)
                self._add(told.id, told.operation)
            elif isinstance(told, Closed):
                self._remove(told.id)
            elif isinstance(told, KnownLineage):
                self.known[told.partition] = told.lineage
        if reader.unreadable:
            log.error("%s: %d entries cannot be read", self.directory, reader.unreadable)

    def note_admissions(
        self, partition: int, place: Place | None, admissions: Sequence[Admission], answers: Sequence[Admitted]
    ) -> None:
        """Note a batch of checks and reserves that the store has answered."""
        if place is not None:
            done = partial(done_admissions, admissions, answers, self.replan)
            self.log.write(partial(self._done_entry, partition, place, done))
            self.look_at(partition, place)

    def note_resolutions(
        self, partition: int, place: Place | None, resolutions: Sequence[Resolution], answers: Sequence[Resolved]
    ) -> None:
        """Note a batch of settles, releases, extends and direct charges that the store has answered."""
        if place is not None:
            done = partial(done_resolutions, resolutions, answers, self.replan)
            self.log.write(partial(self._done_entry, partition, place, done))
            self.look_at(partition, place)

    def has_open(self, user_id: str, request_id: str) -> bool:
        """Say whether something about this call is yet to reach the store: what follows must not overtake it."""
        return bool(self._open_calls) and (user_id, request_id) in self._open_calls

    async def degraded(self, admission: Admission, decision: Decision, error: StoreError) -> Decision:
        """Make a decision durable that was made without the store; an allow that cannot be kept becomes a deny."""
        may_have_landed = not isinstance(error, NEVER_SENT)
        if decision.allowed:
            restore = restore_of_admission(admission, decision.at_ms)
            restore.reason = decision.reason
            if await self._keep(restore):
                return decision
            self.on_failure()
            decision = replace(decision, outcome=Outcome.BLOCK, reason=Reason.STORE_UNAVAILABLE)
            may_have_landed = True  # If not in the store, then in the journal: the disk may have been only slow.
        if may_have_landed:
            await self._void(admission, decision)
        if self._refusals < MAX_OPEN_REFUSALS:
            denial = restore_of_admission(admission, decision.at_ms)
            denial.kind, denial.reason = RestoreKind.DENY, decision.reason
            self._write(denial)
        return decision

    async def accept(self, resolution: Resolution, error: StoreError, *, tier: str | None) -> Settlement:
        """Accept a settle, release or direct charge that the store has not acknowledged.

        Raises `error`, why the store was not asked, if it cannot be kept.
        """
        now_ms = self._now_ms()
        if not await self._keep(restore_of_resolution(resolution, now_ms)):
            self.on_failure()
            raise error
        plan = resolution.plan
        return Settlement(
            resolution.operation,
            resolution.request_id,
            resolution.user_id,
            plan.tier if plan else tier,
            Outcome.ALLOW,
            Reason.STORE_UNAVAILABLE,
            (),
            None,
            plan.revision if plan else 0,
            now_ms,
            HoldState.UNKNOWN,
            resolution.amount_nanos or 0,
            0,
            unpriced=resolution.operation is Operation.SETTLE and resolution.amount_nanos is None,
            degraded=True,
        )

    def open_again(self, restore: Restore) -> bool:
        """Have an operation wait that the store has lost and cannot do yet; False if too many wait already."""
        if len(self.open) >= MAX_OPEN:
            return False
        self._write(restore)
        return True

    def close(self, numbers: Sequence[int]) -> None:
        """Note that the store has these operations now, or that they need nothing any more."""
        for number in numbers:
            if self._remove(number):
                self.log.write(closed_entry(number))
        self.on_change()

    def know(self, partition: int, lineage: str, place: Place | None = None) -> None:
        """Note that everything that was journaled so far is in the data of this lineage, the last of it at `place`."""
        self.known[partition] = lineage
        self.last.pop(partition, None)
        self.recovering.discard(partition)
        if place is not None:
            self.look_at(partition, place)
        self.log.write(lineage_entry(partition, lineage))
        self.on_change()

    def oldest_open_ms(self) -> int | None:
        """Return the time of the oldest operation that the store has not acknowledged."""
        return next((restore.at_ms for restore in self.open.values()), None)

    def look_at(self, partition: int, place: Place) -> None:
        """Remember the last place, or notice that the store's data is another than it was."""
        if partition in self.recovering:  # What is told late may have come too late for this recovery.
            self._stray(partition, place)
        elif self.known.get(partition) == place.lineage:
            last = self.last.get(partition)
            if last is None or last.number < place.number:
                self.last[partition] = place
        elif self.known.get(partition) is None:  # The first that this journal notes of it: the rest follows.
            self.know(partition, place.lineage, place)
        else:
            self._stray(partition, place)

    def _stray(self, partition: int, place: Place) -> None:
        """Remember the last place of a lineage that is not known, or not any more: the replay looks if it is gone."""
        numbers = self.stray.setdefault(partition, {})
        numbers[place.lineage] = max(place.number, numbers.get(place.lineage, 0))
        self.on_work()

    def _done_entry(self, partition: int, place: Place, rows: Callable[[], list[Row]]) -> bytes:
        return self._writer.batch(partition, place, rows())

    async def _void(self, admission: Admission, decision: Decision) -> None:
        """Undo the call if it lands after all, because its caller is told no."""
        restore = restore_of_admission(admission, decision.at_ms)
        restore.kind, restore.plan = RestoreKind.VOID, None
        restore.not_after_ms = max(admission.not_after_ms, decision.at_ms + self._landing_ms)
        if not await self._keep(restore):
            self.on_failure()
            self._write(restore)

    async def _keep(self, restore: Restore) -> bool:
        """Put an operation on disk and among the open ones; False if that cannot be done in time."""
        if len(self.open) >= MAX_OPEN:
            return False
        number = self._number()
        self._add(number, restore)
        self.on_change()
        try:
            async with asyncio.timeout(self._kept_within_s):
                await self.log.append(open_entry(number, restore), undo=lambda: self._forget(number))
        except TimeoutError:  # It may get there after all; then its end follows.
            self.close([number])
            return False
        except (LogUnavailable, ValueError):
            return False
        self.on_work()
        return True

    def _write(self, restore: Restore) -> None:
        """Put an operation among the open ones, and on disk soon."""
        number = self._number()
        self._add(number, restore)
        self.log.write(open_entry(number, restore))
        self.on_change()
        self.on_work()

    def _number(self) -> int:
        self._last_id += 1
        return self._last_id

    def _add(self, number: int, restore: Restore) -> None:
        self.open[number] = restore
        if restore.kind in REFUSALS:
            self._refusals += 1
        else:
            self._open_calls[restore.user_id, restore.request_id] += 1

    def _remove(self, number: int) -> bool:
        restore = self.open.pop(number, None)
        if restore is None:
            return False
        if restore.kind in REFUSALS:
            self._refusals -= 1
            return True
        call = (restore.user_id, restore.request_id)
        self._open_calls[call] -= 1
        if not self._open_calls[call]:
            del self._open_calls[call]
        return True

    def _forget(self, number: int) -> None:
        self._remove(number)

    def _checkpoint(self) -> Iterator[bytes]:
        """Return the state with which a file begins; its entries are made in the log's thread, for they may be many."""
        self._writer.begin_file()
        known, operations = list(self.known.items()), list(self.open.items())
        return chain(starmap(lineage_entry, known), starmap(open_entry, operations))


def lost_operations(
    entries: Sequence[bytes],
    reader: Reader,
    survives: Callable[[int, Place], bool],
    is_open: Callable[[int], bool] = lambda _number: False,
) -> list[Restore]:
    """Return what some entries of a journal tell that the store's data has not: batches of places that are gone.

    Also everything that was once open, because where the store has put it was not noted; but not what `is_open` still,
    and not refusals, which are only logged.
    """
    lost: list[Restore] = []
    for entry in entries:
        told = reader.read(entry)
        if isinstance(told, DoneBatch) and not survives(told.partition, told.place):
            lost += told.operations
        elif isinstance(told, OpenOperation) and told.operation.kind is not RestoreKind.DENY and not is_open(told.id):
            lost.append(told.operation)
    return lost
