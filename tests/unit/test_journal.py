"""The journal: durable before the answer, found again by the next process, replayed once the store is there."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ledger.decisions import Decision, Operation, Outcome, Reason
from ledger.errors import StoreNotAsked, StoreUnavailable
from ledger.operations import Admission, Resolution
from ledger.places import Lineage, Place
from ledger.plan_text import dump_plan, load_plan
from ledger.restores import Restore, Restored, RestoreKind, answer_text
from sidecar.done_operations import Replan, done_admissions, done_resolutions
from sidecar.journal import Journal
from sidecar.journal_entries import DoneBatch, Reader, Row, Writer, restore_of_admission
from sidecar.journal_files import open_journal
from sidecar.journal_replay import Replayer
from tests.support.ledger_under_test import NOON_MS, Caller, memory_under_test, nanos, rules, template
from tests.unit.test_append_log import full_disk

GONE = StoreUnavailable("gone")


@contextlib.asynccontextmanager
async def opened(directory: Path) -> AsyncIterator[Journal]:
    """Open the first free journal of a directory."""
    async with open_journal(directory, max_bytes=1 << 20, now_ms=lambda: NOON_MS, landing_ms=250) as journal:
        yield journal


class Stage:
    """A ledger in memory with a lineage that a test sets, a caller, and a replayer of a journal."""

    def __init__(self) -> None:
        self.under_test = memory_under_test()
        self.caller = Caller(self.under_test, rules(template("free", 1000), template("pro", 5)))
        self.lineage = Lineage("first", {})
        self.places: list[Place | None] = [None]

    def check(self, usd: float = 1, **changes: Any) -> Admission:
        """Return a check of the tier free."""
        return self.caller.admission(Operation.CHECK, usd, tier="free", **changes)

    def decision(self, admission: Admission, *, allowed: bool) -> Decision:
        """Return what the failure policy says."""
        outcome = Outcome.ALLOW if allowed else Outcome.BLOCK
        call = (admission.operation, admission.request_id, admission.user_id, "free")
        return Decision(*call, outcome, Reason.STORE_UNAVAILABLE, (), None, 1, NOON_MS, degraded=True)

    async def replay(self, journal: Journal, *, reachable: bool = True) -> dict[Restored, int]:
        """Replay once; returns what was counted."""
        counted: dict[Restored, int] = {}

        def record(result: Restored, number: int) -> None:
            counted[result] = counted.get(result, 0) + number

        replayer = Replayer(
            journal,
            _Ledger(self),
            partitions=1,
            now_ms=lambda: NOON_MS,
            is_reachable=lambda _partition: reachable,
            record=record,
        )
        await replayer.replay()
        return counted


class _Ledger:
    """The ledger of a stage, as a replayer sees it."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.places = stage.places
        self.restore = stage.under_test.ledger.restore
        self.resolve = stage.under_test.ledger.resolve

    def partition_of(self, _user_id: str) -> int:
        return 0

    async def lineage(self, _partition: int) -> Lineage:
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


@pytest.fixture
def stage() -> Stage:
    """Return a stage."""
    return Stage()


async def admit(stage: Stage, journal: Journal, number: int, admissions: Sequence[Admission]) -> None:
    """Let the ledger decide and note it at a place of the first lineage."""
    answers = await stage.under_test.ledger.admit(admissions)
    journal.note_admissions(0, Place("first", number), admissions, answers)


async def test_an_allowed_call_is_on_disk_before_it_is_answered_and_charged_by_the_next_process(
    tmp_path: Path, stage: Stage
) -> None:
    """The process dies right after the answer; catches an answer that leaves before the sync."""
    admission = stage.check()
    async with opened(tmp_path) as dying:
        answer = await dying.degraded(admission, stage.decision(admission, allowed=True), GONE)
        assert answer.allowed
        dying.log.write = lambda _entry: None  # type: ignore[method-assign]  # Nothing more gets to disk.
    async with opened(tmp_path) as journal:
        assert [RestoreKind.CHECK] == [each.kind for each in journal.open.values()]
        assert {Restored.APPLIED: 1} == await stage.replay(journal)
        assert {} == journal.open
    assert (nanos(1), 0) == await stage.caller.spent_and_held()
    assert ["degraded"] == await stage.caller.event_types()


async def test_a_call_that_landed_although_its_caller_was_told_yes_without_the_store_is_charged_once(
    tmp_path: Path, stage: Stage
) -> None:
    """The answer was lost, and the journal comes on top."""
    admission = stage.check()
    await stage.caller.admit(admission)
    async with opened(tmp_path) as journal:
        await journal.degraded(admission, stage.decision(admission, allowed=True), GONE)
        assert {Restored.KNOWN: 1} == await stage.replay(journal)
    assert (nanos(1), 0) == await stage.caller.spent_and_held()


@pytest.mark.parametrize(("error", "kinds"), [(GONE, ["void", "deny"]), (StoreNotAsked("open"), ["deny"])])
async def test_a_refused_call_is_undone_if_it_may_have_landed(
    tmp_path: Path, stage: Stage, error: Any, kinds: list[str]
) -> None:
    """What the caller was told is the truth; the log has the refusal once the store is back."""
    admission = stage.check(not_after_ms=NOON_MS - 1000, attempt="a")
    async with opened(tmp_path) as journal:
        answer = await journal.degraded(admission, stage.decision(admission, allowed=False), error)
        assert not answer.allowed
        assert kinds == [each.kind for each in journal.open.values()]


async def test_a_void_undoes_what_landed_once_it_can_land_no_more(tmp_path: Path, stage: Stage) -> None:
    """Not before: until then it waits. The last of the events is that it was undone."""
    admission = stage.check(attempt="a")
    await stage.caller.admit(admission)
    async with opened(tmp_path) as journal:
        admission.not_after_ms = 0
        await journal.degraded(admission, stage.decision(admission, allowed=False), GONE)
        assert {Restored.EARLY: 1, Restored.APPLIED: 1} == await stage.replay(journal)
        assert (nanos(1), 0) == await stage.caller.spent_and_held()
        await stage.under_test.set_time(NOON_MS + 1000)
        assert {Restored.APPLIED: 1} == await stage.replay(journal)
    assert (0, 0) == await stage.caller.spent_and_held()
    assert ["blocked", "voided"] == await stage.caller.event_types()


async def test_a_void_leaves_what_another_attempt_was_told(tmp_path: Path, stage: Stage) -> None:
    """A retry, through whichever sidecar, was answered yes: then the call is charged."""
    first = stage.check(attempt="a", request_id="call")
    await stage.caller.admit(first)
    replayed = await stage.caller.admit(stage.check(attempt="b", request_id="call"))
    assert isinstance(replayed[0], Decision)
    assert replayed[0].replayed
    async with opened(tmp_path) as journal:
        first.not_after_ms = 0
        await journal.degraded(first, stage.decision(first, allowed=False), GONE)
        await stage.under_test.set_time(NOON_MS + 1000)
        assert {Restored.APPLIED: 2} == await stage.replay(journal)  # The void, and the line in the log.
    assert (nanos(1), 0) == await stage.caller.spent_and_held()


async def test_an_allow_that_cannot_be_kept_is_refused(tmp_path: Path, stage: Stage) -> None:
    """The disk is full: nothing is let through that nobody would ever count, and that is told."""
    failures: list[int] = []
    admission = stage.check()
    async with opened(tmp_path) as journal:
        journal.on_failure = lambda: failures.append(1)
        with full_disk(60):
            answer = await journal.degraded(admission, stage.decision(admission, allowed=True), GONE)
        assert (False, Reason.STORE_UNAVAILABLE, True) == (answer.allowed, answer.reason, bool(failures))
        assert RestoreKind.CHECK not in [each.kind for each in journal.open.values()]


async def test_a_settle_without_the_store_is_accepted_and_reaches_it_behind_its_reserve(
    tmp_path: Path, stage: Stage
) -> None:
    """Both were answered without the store; the end of the hold is its actual."""
    reserve = stage.caller.admission(Operation.RESERVE, 3, tier="free", request_id="call")
    settle = Resolution(operation=Operation.SETTLE, user_id="alice", request_id="call", amount_nanos=nanos(2), sent="2")
    async with opened(tmp_path) as journal:
        await journal.degraded(reserve, stage.decision(reserve, allowed=True), StoreNotAsked("open"))
        assert journal.has_open("alice", "call")
        answer = await journal.accept(settle, GONE, tier="free")
        assert (True, nanos(2)) == (answer.degraded, answer.charged_nanos)
        assert {Restored.APPLIED: 2} == await stage.replay(journal)
        assert not journal.has_open("alice", "call")
    assert (nanos(2), 0) == await stage.caller.spent_and_held()


async def test_a_settle_that_cannot_be_kept_is_an_error(tmp_path: Path, stage: Stage) -> None:
    """The caller keeps it and tells it again."""
    settle = Resolution(operation=Operation.SETTLE, user_id="alice", request_id="call", amount_nanos=1, sent="1")
    async with opened(tmp_path) as journal:
        with full_disk(60), pytest.raises(StoreUnavailable):
            await journal.accept(settle, GONE, tier=None)
        assert {} == journal.open


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


async def test_a_store_that_is_not_reachable_is_not_asked(tmp_path: Path, stage: Stage) -> None:
    """The breaker's word counts for the journal too."""
    admission = stage.check()
    async with opened(tmp_path) as journal:
        await journal.degraded(admission, stage.decision(admission, allowed=True), GONE)
        assert {} == await stage.replay(journal, reachable=False)
        assert 1 == len(journal.open)


async def test_processes_that_share_a_directory_have_journals_of_their_own(tmp_path: Path) -> None:
    """The first that is free, so that the next start finds what was left."""
    async with opened(tmp_path) as first, opened(tmp_path) as second:
        assert ["0", "1"] == [first.directory.name, second.directory.name]
    async with opened(tmp_path) as again:
        assert "0" == again.directory.name


async def test_entries_are_read_as_they_were_written(stage: Stage) -> None:
    """Also by a reader who knows the plans only from the entries."""
    asked = [stage.check(1, meta='{"note":"x"}', attempt="a"), stage.check(2)]
    answers = await stage.under_test.ledger.admit(asked)
    done = done_admissions(asked, answers, replan_of(stage))
    told = Reader().read(Writer().batch(0, Place("l", 7), done))
    assert isinstance(told, DoneBatch)
    assert Place("l", 7) == told.place
    for admission, answer, actual in zip(asked, answers, told.operations, strict=True):
        assert isinstance(answer, Decision)
        assert actual.plan is not None
        assert dump_plan(admission.plan) == dump_plan(actual.plan)
        expected = restore_of_admission(admission, answer.at_ms)
        expected.answer = answer_text(answer)
        assert expected == replace(actual, plan=expected.plan)


def test_a_plan_is_read_as_it_was_written(stage: Stage) -> None:
    """Windows, budgets, totals and policies, with all zones."""
    plan = stage.caller.plan("alice", "pro")
    assert dump_plan(plan) == dump_plan(load_plan(dump_plan(plan)))


def test_an_entry_of_another_version_is_counted_and_passed_over() -> None:
    """And so is garbage."""
    reader = Reader()
    assert [None, None] == [reader.read(b"\x91\xa1?"), reader.read(b"\xc1")]
    assert 2 == reader.unreadable


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


async def test_an_answer_that_is_told_again_is_kept_as_it_was(stage: Stage) -> None:
    """The first telling may be lost; a day later the windows, and with other prices the amount, are still the first."""
    first = stage.check(0.5, request_id="call", attempt="a")
    await stage.under_test.ledger.admit([first])
    next_day_ms = NOON_MS + 24 * 3600 * 1000
    again = stage.check(0.5, request_id="call", attempt="b", plan=stage.caller.plan("alice", "free", at_ms=next_day_ms))
    kept = restored(done_admissions([again], await stage.under_test.ledger.admit([again]), replan_of(stage)))
    assert kept.plan is not None
    assert dump_plan(first.plan) == dump_plan(kept.plan)
    assert ("b", NOON_MS) == (kept.attempt, kept.at_ms)
    assert kept.answer


async def test_an_answer_under_other_rules_is_kept_without_its_numbers(stage: Stage) -> None:
    """They would stand beside the wrong budgets."""
    first = stage.check(0.5, request_id="call")
    await stage.under_test.ledger.admit([first])
    stage.caller.rule_set = rules(template("free", 7))
    again = stage.check(0.5, request_id="call")
    kept = restored(done_admissions([again], await stage.under_test.ledger.admit([again]), replan_of(stage)))
    assert ("", Reason.UNDER_LIMIT) == (kept.answer, kept.reason)


async def test_a_settlement_that_is_told_again_is_kept_with_what_it_has_charged(stage: Stage) -> None:
    """Prices may have changed since, and with them what the same usage costs now."""
    hold = stage.caller.admission(Operation.RESERVE, 1, tier="free", request_id="call")
    await stage.under_test.ledger.admit([hold])
    settle = Resolution(operation=Operation.SETTLE, user_id="alice", request_id="call", sent="usage", amount_nanos=7)
    await stage.under_test.ledger.resolve([settle])
    settle.amount_nanos = 9
    kept = restored(done_resolutions([settle], await stage.under_test.ledger.resolve([settle]), replan_of(stage)))
    assert (RestoreKind.SETTLE, 7) == (kept.kind, kept.amount_nanos)
