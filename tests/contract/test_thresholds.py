"""Thresholds: each fires once a window, and is armed anew by another limit. Every ledger must pass."""

from ledger.decisions import (
    Decision,
    Outcome,
    Reason,
    Warning,  # noqa: A004 - the contract's word
    WarningKind,
)
from ledger.rules import Action
from ledger.windows import WindowType
from tests.support.ledger_under_test import Caller, LedgerUnderTest, rule, rules


def threshold(pct: int, *, first: bool = True) -> Warning:
    """Return the warning of a threshold."""
    return Warning(WarningKind.THRESHOLD, pct, first)


async def test_a_dry_run_carries_the_thresholds_it_crosses(ledger: LedgerUnderTest) -> None:
    """The outcome stays dry run, the warning is the threshold."""
    caller = Caller(ledger, rules(rule(limit_usd=1, action=Action.DRY_RUN)))
    budget = (await caller.check(2)).budgets[0]
    assert (Outcome.DRY_RUN, threshold(80)) == (budget.outcome, budget.warning)


async def test_warn_over_the_limit_warns_each_time_and_is_first_once(ledger: LedgerUnderTest) -> None:
    """The call past the limit proceeds; only the first warning is marked as such."""
    caller = Caller(ledger, rules(rule(limit_usd=1, action=Action.WARN, thresholds_pct=())))
    decisions = [await caller.check(2), await caller.check(2)]
    assert [(Outcome.WARN, Reason.LIMIT)] * 2 == [(each.outcome, each.reason) for each in decisions]
    warnings = [decision.budgets[0].warning for decision in decisions]
    assert [Warning(WarningKind.LIMIT, None, first) for first in (True, False)] == warnings


async def test_a_threshold_warns_once_a_window(ledger: LedgerUnderTest) -> None:
    """The first charge that reaches it warns, the next is an allow that still tells of it."""
    caller = Caller(ledger, rules(rule(action=Action.WARN)))
    decisions = [await caller.check(8), await caller.check(1)]
    assert [(Outcome.WARN, Reason.THRESHOLD), (Outcome.ALLOW, Reason.UNDER_LIMIT)] == [
        (each.outcome, each.reason) for each in decisions
    ]
    assert [threshold(80), threshold(80, first=False)] == [decision.budgets[0].warning for decision in decisions]


async def test_the_highest_of_several_thresholds_is_reported(ledger: LedgerUnderTest) -> None:
    """All thresholds crossed at once are used up by one warning."""
    caller = Caller(ledger, rules(rule(action=Action.WARN, thresholds_pct=(50, 80, 95))))
    warnings = [(await caller.check(usd)).budgets[0].warning for usd in (8.5, 0.5, 0.5)]
    assert [threshold(80), threshold(80, first=False), threshold(95)] == warnings


async def test_a_threshold_fires_anew_in_the_next_window(ledger: LedgerUnderTest) -> None:
    """The next day has its own marks."""
    caller = Caller(ledger, rules(rule(window=WindowType.DAY, action=Action.WARN)))
    await caller.check(8)
    await caller.pass_time(24)
    assert threshold(80) == (await caller.check(8)).budgets[0].warning


async def test_a_changed_limit_rearms_the_thresholds(ledger: LedgerUnderTest) -> None:
    """A raise starts the alerts of the window anew."""
    caller = Caller(ledger, rules(rule(limit_usd=10)))
    await caller.check(8)
    caller.rule_set = rules(rule(limit_usd=11), revision=2)
    assert threshold(80) == (await caller.check(1)).budgets[0].warning


async def test_a_changed_threshold_rearms(ledger: LedgerUnderTest) -> None:
    """Another list of thresholds starts anew."""
    caller = Caller(ledger, rules(rule(thresholds_pct=(80,))))
    await caller.check(8)
    caller.rule_set = rules(rule(thresholds_pct=(50,)), revision=2)
    assert threshold(50) == (await caller.check(1)).budgets[0].warning


async def test_a_changed_action_rearms_nothing(ledger: LedgerUnderTest) -> None:
    """Turning a warning into a block does not repeat the alert."""
    caller = Caller(ledger, rules(rule(action=Action.WARN)))
    await caller.check(8)
    caller.rule_set = rules(rule(action=Action.BLOCK), revision=2)
    assert threshold(80, first=False) == (await caller.check(1)).budgets[0].warning


async def test_a_reserve_crosses_no_threshold(ledger: LedgerUnderTest) -> None:
    """A fat estimate must not use up the alert."""
    caller = Caller(ledger, rules(rule()))
    assert (Outcome.ALLOW, None) == _outcome_and_warning(await caller.reserve(9))


async def test_a_block_marks_no_threshold(ledger: LedgerUnderTest) -> None:
    """After a refused call the threshold still fires."""
    caller = Caller(ledger, rules(rule()))
    await caller.check(11)
    assert (Outcome.WARN, threshold(80)) == _outcome_and_warning(await caller.check(8))


async def test_the_limit_wins_over_a_threshold_in_the_answer(ledger: LedgerUnderTest) -> None:
    """Both are marked: the threshold does not fire again later."""
    caller = Caller(ledger, rules(rule(limit_usd=10, action=Action.WARN)))
    first = await caller.check(12)
    assert Warning(WarningKind.LIMIT, None, first=True) == first.budgets[0].warning
    assert Warning(WarningKind.LIMIT, None, first=False) == (await caller.check(1)).budgets[0].warning


def _outcome_and_warning(decision: Decision) -> tuple[Outcome, Warning | None]:
    budget = decision.budgets[0]
    return budget.outcome, budget.warning
