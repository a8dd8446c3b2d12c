"""What stands in a journal: read as it was written, and what an answer that is told again leaves there."""

from dataclasses import replace

import pytest

from ledger.decisions import Decision, Operation, Reason
from ledger.operations import Resolution
from ledger.places import Place
from ledger.plan_text import dump_plan, load_plan
from ledger.restores import RestoreKind, answer_text
from sidecar.done_operations import done_admissions, done_resolutions
from sidecar.journal_entries import DoneBatch, Reader, Writer, restore_of_admission
from tests.support.journal_stage import Stage, replan_of, restored
from tests.support.ledger_under_test import NOON_MS, rules, template


@pytest.fixture
def stage() -> Stage:
    """Return a stage."""
    return Stage()


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
