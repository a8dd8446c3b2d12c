"""Plays one scenario on two ledgers: every result, event, counter, total and tally must be equal."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from ledger.adjustments import Adjusted, Adjustment
from ledger.decisions import StalePlan
from ledger.errors import CreditExceedsSpend, LedgerError
from ledger.operations import Admission, Admitted, Resolution, Resolved
from ledger.plans import Plan, TierWindow
from ledger.windows import Window
from tests.property.operations import (
    Again,
    Call,
    Correct,
    End,
    adjustment_of,
    admissions_of,
    resolutions_of,
    restores_of,
)
from tests.property.scenarios import PassTime, Stage, Step, UseRules
from tests.support.ledger_under_test import Book, LedgerUnderTest


def comparable(result: Admitted | Resolved | Adjusted) -> object:
    """Return a result, an error by what a caller can tell of it; one about money says how much there is."""
    if isinstance(result, CreditExceedsSpend):
        return result.code, result.message
    return (type(result), result.code, result.field) if isinstance(result, LedgerError) else result


@dataclass(slots=True)
class Seen:
    """Every counter, total, tally and day that the plans of a scenario may have touched."""

    counters: set[tuple[Window, str]] = field(default_factory=set)
    totals: set[TierWindow] = field(default_factory=set)
    tallies: set[tuple[Window, str]] = field(default_factory=set)
    days: set[Window] = field(default_factory=set)

    def add(self, plan: Plan | None, user_id: str) -> None:
        """Remember what a plan names."""
        if plan is None:
            return
        if user_id:
            self.counters |= {(entry.window, user_id) for entry in plan.counters}
        self.totals |= set(plan.tier_windows)
        self.days.add(plan.counters[0].window)
        self.tallies |= {(budget.terms.window, budget.terms.rule_id) for budget in plan.budgets}

    def add_all(self, operations: Iterable[Admission | Resolution]) -> None:
        """Remember what the plans of a list of operations name."""
        for operation in operations:
            self.add(operation.plan, operation.user_id)

    async def read(self, book: Book) -> dict[object, object]:
        """Read everything that was seen."""
        state: dict[object, object] = {key: await book.counter(*key) for key in self.counters}
        state |= {key: await book.tier_total(key.window, key.tier) for key in self.totals}
        state |= {("tally", *key): await book.tally(*key) for key in self.tallies}
        state |= {("breakdown", day): await book.breakdown(day) for day in self.days}
        state["unattributed"] = await book.unattributed()
        return state


async def assert_equal_play(expected: LedgerUnderTest, actual: LedgerUnderTest, steps: list[Step]) -> None:
    """Play the steps on both and compare; the first is the one that is right."""
    stage, seen = Stage(), Seen()
    for step in steps:
        if isinstance(step, UseRules | PassTime):
            await stage.change(step, expected, actual)
            continue
        await _play(stage, seen, expected, actual, step)
        assert await expected.book.events() == await actual.book.events()
        due = await expected.ledger.due_users(0, 10)
        assert set(due) <= set(await actual.ledger.due_users(0, 10))
    assert await seen.read(expected.book) == await seen.read(actual.book)


async def adjust(under_test: LedgerUnderTest, adjustment: Adjustment) -> Adjusted | StalePlan | LedgerError:
    """Send an adjustment; an error is its result."""
    try:
        return await under_test.ledger.adjust(adjustment)
    except LedgerError as error:
        return error


async def _play(stage: Stage, seen: Seen, expected: LedgerUnderTest, actual: LedgerUnderTest, step: Step) -> None:
    if isinstance(step, Correct):
        adjustment = adjustment_of(step, stage.rule_set, stage.now_ms)
        seen.add(adjustment.plan, adjustment.user_id)
        answers = await adjust(expected, adjustment), await adjust(actual, adjustment)
        assert comparable(answers[0]) == comparable(answers[1])
        return
    assert isinstance(step, tuple)
    if isinstance(step[0], Again):
        agains = [entry for entry in step if isinstance(entry, Again)]
        restores = restores_of(agains, stage.rule_set, stage.now_ms)
        for restore in restores:
            seen.add(restore.plan, restore.user_id)
        assert await expected.ledger.restore(restores) == await actual.ledger.restore(restores)
        return
    if isinstance(step[0], Call):
        calls = [entry for entry in step if isinstance(entry, Call)]
        admissions = admissions_of(calls, stage.rule_set, stage.now_ms)
        seen.add_all(admissions)
        plans = [(admission.user_id, admission.plan) for admission in admissions]
        answers = await expected.ledger.admit(admissions), await actual.ledger.admit(admissions)
        _assert_same(*answers)
        for user_id, plan in plans:
            assert await expected.ledger.usage(user_id, plan) == await actual.ledger.usage(user_id, plan)
        return
    ends = [entry for entry in step if isinstance(entry, End)]
    resolutions = resolutions_of(ends, stage.rule_set, stage.now_ms)
    seen.add_all(resolutions)
    _assert_same(await expected.ledger.resolve(resolutions), await actual.ledger.resolve(resolutions))


def _assert_same(expected: Iterable[Admitted | Resolved], actual: Iterable[Admitted | Resolved]) -> None:
    assert [comparable(result) for result in expected] == [comparable(result) for result in actual]
