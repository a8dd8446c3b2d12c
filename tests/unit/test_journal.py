"""The journal: durable before the answer, found again by the next process, replayed once the store is there."""

from pathlib import Path
from typing import Any

import pytest

from ledger.decisions import Decision, Operation, Reason
from ledger.errors import StoreNotAsked, StoreUnavailable
from ledger.operations import Resolution
from ledger.restores import Restored, RestoreKind
from tests.support.journal_stage import GONE, Stage, opened
from tests.support.ledger_under_test import NOON_MS, nanos
from tests.unit.test_append_log import full_disk


@pytest.fixture
def stage() -> Stage:
    """Return a stage."""
    return Stage()


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


async def test_a_store_that_is_not_reachable_is_not_asked(tmp_path: Path, stage: Stage) -> None:
    """The breaker's word counts for the journal too."""
    admission = stage.check()
    async with opened(tmp_path) as journal:
        await journal.degraded(admission, stage.decision(admission, allowed=True), GONE)
        stage.is_reachable = False
        assert {} == await stage.replay(journal)
        assert 1 == len(journal.open)


async def test_processes_that_share_a_directory_have_journals_of_their_own(tmp_path: Path) -> None:
    """The first that is free, so that the next start finds what was left."""
    async with opened(tmp_path) as first, opened(tmp_path) as second:
        assert ["0", "1"] == [first.directory.name, second.directory.name]
    async with opened(tmp_path) as again:
        assert "0" == again.directory.name
