"""What the store has lost is done again from the journal, and only that; whatever waits for others waits."""

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ledger.decisions import Operation
from ledger.errors import StoreUnavailable
from ledger.operations import Resolution
from ledger.places import Lineage, Place
from ledger.restores import Restore, Restored
from sidecar.journal import Journal
from sidecar.journal_entries import restore_of_admission
from sidecar.journal_replay import BATCH, PORTION, WAIT_FOR_HOLD_MS
from tests.support.journal_stage import GONE, Stage, admit, opened
from tests.support.ledger_under_test import NOON_MS, nanos

BATCHES = 3
FILE_BYTES = 300_000
"""More than a file of the journals of tests takes."""


@pytest.fixture
def stage() -> Stage:
    """Return a stage."""
    return Stage()


async def test_what_the_store_lost_is_done_again_and_nothing_else(tmp_path: Path, stage: Stage) -> None:
    """Of three runs the last two are gone; block rules follow their failure policy until they are back."""
    async with opened(tmp_path) as journal:
        await stage.replay(journal)
        for number in (1, 2, 3):
            await admit(stage, journal, number, [stage.check(number)])
        lost = Stage()
        await lost.caller.admit(stage.check(1, request_id="made-0"))
        lost.lineage = Lineage("second", {"first": 1})
        assert {Restored.APPLIED: 2} == await lost.replay(journal)
        assert (set(), "second") == (journal.recovering, journal.known[0])
        assert {} == await lost.replay(journal)
    assert (nanos(6), 0) == await lost.caller.spent_and_held()


async def test_a_server_that_lost_nothing_of_ours_is_left_alone(tmp_path: Path, stage: Stage) -> None:
    """It was only started anew."""
    async with opened(tmp_path) as journal:
        await stage.replay(journal)
        await admit(stage, journal, 1, [stage.check()])
        stage.lineage = Lineage("second", {"first": 1})
        assert {} == await stage.replay(journal)
        assert "second" == journal.known[0]


async def test_what_was_done_again_and_is_lost_once_more_is_done_again_once_more(tmp_path: Path, stage: Stage) -> None:
    """The second crash takes the replay, and nothing of what was answered since; catches a loss that nobody notices."""
    async with opened(tmp_path) as journal:
        await stage.replay(journal)
        await admit(stage, journal, 1, [stage.check()])
        stage.lineage, stage.places = Lineage("second", {"first": 0}), [Place("second", 5)]
        assert {Restored.KNOWN: 1} == await stage.replay(journal)
        journal.look_at(0, Place("second", 3))
        stage.lineage, stage.places = Lineage("third", {"first": 0, "second": 4}), [Place("third", 5)]
        assert {Restored.KNOWN: 1} == await stage.replay(journal)


def _settle(nano_usd: int) -> Resolution:
    operation = Operation.SETTLE
    return Resolution(
        operation=operation, user_id="alice", request_id="held", sent=f"{nano_usd}", amount_nanos=nano_usd
    )


async def test_a_settle_whose_hold_another_journal_has_waits_for_it_over_a_restart(
    tmp_path: Path, stage: Stage
) -> None:
    """The store has lost both, and the next process of this sidecar knows it; catches a list in memory only."""
    hold, lost = stage.caller.admission(Operation.RESERVE, 1, tier="free", request_id="held"), Stage()
    async with opened(tmp_path) as journal:
        await stage.replay(journal)
        await stage.under_test.ledger.admit([hold])
        journal.note_resolutions(
            0, Place("first", 2), [_settle(7)], await stage.under_test.ledger.resolve([_settle(7)])
        )
        lost.lineage = Lineage("second", {})
        assert Restored.MISSING in await lost.replay(journal)
    async with opened(tmp_path) as journal:
        await lost.under_test.ledger.admit([hold])  # As the other sidecar brings it.
        assert {Restored.APPLIED: 1} == await lost.replay(journal)
        assert not journal.open
    assert (7, 0) == await lost.caller.spent_and_held()


async def test_a_settle_of_a_long_outage_waits_for_its_hold_once_the_store_is_back(
    tmp_path: Path, stage: Stage
) -> None:
    """The other sidecar, which has the hold, comes a moment later; catches a wait that the outage has used up."""
    async with opened(tmp_path) as journal:
        await journal.accept(_settle(7), GONE, tier="free")
        await stage.under_test.set_time(NOON_MS + WAIT_FOR_HOLD_MS + 1000)
        assert {Restored.MISSING: 1} == await stage.replay(journal, at_ms=NOON_MS + WAIT_FOR_HOLD_MS + 1000)
        await stage.caller.admit(stage.caller.admission(Operation.RESERVE, 1, tier="free", request_id="held"))
        assert {Restored.APPLIED: 1} == await stage.replay(journal)
    assert (7, 0) == await stage.caller.spent_and_held()


async def test_a_settle_whose_hold_nobody_has_ends_after_its_wait(tmp_path: Path, stage: Stage) -> None:
    """Its amount is kept as unattributed."""
    async with opened(tmp_path) as journal:
        await journal.accept(_settle(7), GONE, tier="free")
        replayer = stage.replayer(journal, clock := [NOON_MS])
        await replayer.replay()
        assert 1 == len(journal.open)
        clock[0] += WAIT_FOR_HOLD_MS
        await replayer.replay()
        assert not journal.open
    assert ["unattributed"] == await stage.caller.event_types()


async def test_the_first_batch_of_all_is_missed_when_the_store_loses_it(tmp_path: Path, stage: Stage) -> None:
    """Before anybody has looked at its data; catches a first look that takes what it finds for all there was."""
    lost = Stage()
    async with opened(tmp_path) as journal:
        await admit(stage, journal, 1, [stage.check()])
        lost.lineage = Lineage("second", {})
        assert {Restored.APPLIED: 1} == await lost.replay(journal)


async def test_an_answer_of_before_the_loss_that_comes_after_the_recovery_is_done_again(
    tmp_path: Path, stage: Stage
) -> None:
    """Its reply was long on the way; catches a journal that is read once a loss."""
    lost = Stage()
    async with opened(tmp_path) as journal:
        await stage.replay(journal)
        await admit(stage, journal, 1, [stage.check(request_id="before")])
        lost.lineage = Lineage("second", {})
        assert {Restored.APPLIED: 1} == await lost.replay(journal)
        await admit(stage, journal, 2, [stage.check(request_id="late")])
        assert {Restored.KNOWN: 1, Restored.APPLIED: 1} == await lost.replay(journal)
        assert {} == await lost.replay(journal)
        assert not journal.recovering


async def test_an_answer_of_before_the_loss_that_comes_in_the_middle_of_the_recovery_is_done_again(
    tmp_path: Path, stage: Stage
) -> None:
    """The partition goes on recovering until it is there; catches one that is known too early, also by a restart."""
    lost = Stage()
    async with opened(tmp_path) as journal:
        await stage.replay(journal)
        await admit(stage, journal, 1, [stage.check(request_id="before")])
        lost.lineage = Lineage("second", {})

        async def restore(restores: Sequence[Restore]) -> list[Restored]:
            lost.restore = lost.under_test.ledger.restore
            await admit(stage, journal, 2, [stage.check(request_id="late")])
            return await lost.under_test.ledger.restore(restores)

        lost.restore = restore
        assert {Restored.APPLIED: 1} == await lost.replay(journal)
        assert {0} == journal.recovering
        assert {Restored.KNOWN: 1, Restored.APPLIED: 1} == await lost.replay(journal)
        assert not journal.recovering


async def test_an_answer_that_tells_of_new_data_before_anybody_has_looked_is_not_lost(
    tmp_path: Path, stage: Stage
) -> None:
    """The server was started anew and has everything: nothing is done again."""
    async with opened(tmp_path) as journal:
        await stage.replay(journal)
        await admit(stage, journal, 1, [stage.check()])
        journal.look_at(0, Place("second", 2))
        stage.lineage = Lineage("second", {"first": 1})
        assert {} == await stage.replay(journal)
        assert Place("second", 2) == journal.last[0]
        assert {} == journal.stray


class Unsteady:
    """A store that leaves every other question of a replay unanswered, and counts the operations it was given."""

    def __init__(self, stage: Stage, *, opens_breaker: bool = False) -> None:
        self.given: list[int] = []
        self._stage = stage
        self._restore = stage.under_test.ledger.restore
        self._opens_breaker = opens_breaker
        self._is_away = False

    async def restore(self, restores: Sequence[Restore]) -> list[Restored]:
        """Do operations again, or say nothing."""
        self._is_away = not self._is_away
        if self._is_away:
            self._stage.is_reachable = not self._opens_breaker
            raise GONE
        self.given.append(len(restores))
        return await self._restore(restores)


async def test_a_recovery_goes_on_where_the_store_did_not_answer(tmp_path: Path, stage: Stage) -> None:
    """On a bad line one that begins anew each time never ends."""
    lost = Stage()
    async with opened(tmp_path) as journal:
        await stage.replay(journal)
        for number in range(1, BATCHES + 1):
            await admit(stage, journal, number, [stage.check(0.001) for _ in range(BATCH)])
        lost.lineage, unsteady = Lineage("second", {}), Unsteady(lost)
        lost.restore = unsteady.restore
        assert {Restored.APPLIED: BATCHES * BATCH} == await lost.replay(journal)
    assert [BATCH] * BATCHES == unsteady.given


async def test_a_recovery_that_an_outage_ends_does_no_whole_file_again(tmp_path: Path, stage: Stage) -> None:
    """Of a day's journal little is left to do then."""
    lost = Stage()
    async with opened(tmp_path) as journal:
        await stage.replay(journal)
        for number in range(1, BATCHES + 1):
            await admit(stage, journal, number, [stage.check(0.001, meta="x" * FILE_BYTES)])
            await journal.log.flush()
        lost.lineage, unsteady = Lineage("second", {}), Unsteady(lost, opens_breaker=True)
        lost.restore = unsteady.restore
        replayer = lost.replayer(journal, [NOON_MS])
        with contextlib.suppress(StoreUnavailable):
            await replayer.replay()
        while journal.recovering:
            lost.is_reachable = True
            with contextlib.suppress(StoreUnavailable):
                await replayer.replay()
    assert [1] * BATCHES == unsteady.given


async def test_a_partition_that_goes_away_again_holds_up_no_other(tmp_path: Path) -> None:
    """Each is known as soon as its own loss is made good; catches a server that flaps and keeps all recovering."""
    before, lost = Stage(partitions=2), Stage(partitions=2)
    async with opened(tmp_path) as journal:
        await before.replay(journal)
        for partition in (0, 1):
            check = before.check(user_id=f"user-{partition}")
            await admit(before, journal, partition + 1, [check], partition=partition)
        lost.lineage, do_again = Lineage("second", {}), lost.restore

        async def restore(restores: Sequence[Restore]) -> list[Restored]:
            if restores[0].user_id == "user-0":
                lost.away = {0}
                raise GONE
            return await do_again(restores)

        lost.restore = restore
        with pytest.raises(StoreUnavailable):
            await lost.replay(journal)
        assert ({0}, "second") == (journal.recovering, journal.known[1])
        lost.away, lost.restore = set(), do_again
        assert {Restored.APPLIED: 1} == await lost.replay(journal)
        assert set() == journal.recovering


async def test_a_partition_that_does_not_tell_its_lineage_holds_up_no_other(tmp_path: Path) -> None:
    """The others are looked at all the same."""
    before, lost = Stage(partitions=2), Stage(partitions=2)
    async with opened(tmp_path) as journal:
        await before.replay(journal)
        await admit(before, journal, 1, [before.check(user_id="user-1")], partition=1)
        lost.lineage, lost.silent = Lineage("second", {}), {0}
        with pytest.raises(StoreUnavailable):
            await lost.replay(journal)
        assert "second" == journal.known[1]


async def _let_through(stage: Stage, journal: Journal, operations: int) -> None:
    """Journal checks that were allowed without the store, such as wait after an outage."""
    for _ in range(operations):
        check = stage.check(0.001)
        await journal.degraded(check, stage.decision(check, allowed=True), GONE)


async def test_what_the_store_has_taken_waits_no_longer(tmp_path: Path, stage: Stage) -> None:
    """Batch by batch; catches a backlog that is noted as done only at its end, in one piece that stalls live calls."""
    waiting: list[int] = []
    do_again = stage.restore

    async def restore(restores: Sequence[Restore]) -> list[Restored]:
        waiting.append(len(journal.open))
        return await do_again(restores)

    async with opened(tmp_path) as journal:
        await _let_through(stage, journal, BATCHES * BATCH)
        stage.restore = restore
        assert {Restored.APPLIED: BATCHES * BATCH} == await stage.replay(journal)
        assert {} == journal.open
    assert [number * BATCH for number in range(BATCHES, 0, -1)] == waiting


async def test_a_backlog_pushes_no_note_out_of_the_log(tmp_path: Path, stage: Stage) -> None:
    """Its ends are written as they come, not more of them at once than may wait for the disk."""
    do_again = stage.restore

    async def restore(restores: Sequence[Restore]) -> list[Restored]:
        await journal.log.flush()
        return await do_again(restores)

    async with opened(tmp_path) as journal:
        await _let_through(stage, journal, BATCHES * BATCH)
        stage.restore = restore
        journal.log._limits = replace(journal.log._limits, max_waiting=2 * BATCH)
        await stage.replay(journal)
        assert 0 == journal.log.counts.dropped_entries


async def test_a_backlog_of_several_portions_is_done_once_and_in_order(tmp_path: Path, stage: Stage) -> None:
    """Nothing is left out or done twice where one portion ends."""
    given: list[str] = []
    do_again = stage.restore

    async def restore(restores: Sequence[Restore]) -> list[Restored]:
        given.extend(each.request_id for each in restores)
        return await do_again(restores)

    async with opened(tmp_path) as journal:
        checks = [stage.check(0.001) for _ in range(PORTION + BATCH + 1)]
        for check in checks:
            journal.open_again(restore_of_admission(check, NOON_MS))
        stage.restore = restore
        assert {Restored.APPLIED: len(checks)} == await stage.replay(journal)
    assert [check.request_id for check in checks] == given
