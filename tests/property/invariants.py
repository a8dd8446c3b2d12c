"""Plays a scenario on one ledger and checks the contract's invariants 1 to 7 against the test's own bookkeeping."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from ledger.adjustments import Adjustment
from ledger.breakdown import NOTHING, Dimension
from ledger.operations import Admission, Resolution
from ledger.windows import Window
from tests.property.accounts import Account, Breach
from tests.property.bookkeeping import Numbers
from tests.property.comparison import Seen, adjust
from tests.property.operations import Call, Correct, adjustment_of, admissions_of, resolutions_of
from tests.property.scenarios import PassTime, Stage, Step, UseRules
from tests.support.ledger_under_test import LedgerUnderTest

ALL_INVARIANTS = frozenset(range(1, 8))

Counted = dict[tuple[Window, str], Numbers]


class InvariantBroken(AssertionError):
    """An invariant of the contract does not hold; `number` is the contract's."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(f"invariant {number}: {message}")
        self.number = number


@dataclass(slots=True)
class Inspector:
    """Plays steps on a ledger; looks only at the invariants it is told to."""

    under_test: LedgerUnderTest
    invariants: Collection[int] = ALL_INVARIANTS
    account: Account = field(default_factory=Account)
    stage: Stage = field(default_factory=Stage)
    seen: Seen = field(default_factory=Seen)

    async def play(self, steps: Sequence[Step]) -> None:
        """Play all steps. Raises `InvariantBroken` after the first that breaks one."""
        for step in steps:
            if isinstance(step, UseRules | PassTime):
                await self.stage.change(step, self.under_test)
                continue
            if isinstance(step, Correct):
                await self._adjust(adjustment_of(step, self.stage.rule_set, self.stage.now_ms))
            elif isinstance(step[0], Call):
                calls = [entry for entry in step if isinstance(entry, Call)]
                await self._admit(admissions_of(calls, self.stage.rule_set, self.stage.now_ms))
            else:
                ends = [entry for entry in step if not isinstance(entry, Call)]
                await self._resolve(resolutions_of(ends, self.stage.rule_set, self.stage.now_ms))
            self._raise_first(self.account.take_breaches())
            await self._check_conservation()
            await self._check_log()

    def _raise_first(self, breaches: list[Breach]) -> None:
        for breach in breaches:
            self._require(breach.number, False, breach.message)

    def _require(self, number: int, holds: bool, message: str) -> None:
        if number in self.invariants and not holds:
            raise InvariantBroken(number, message)

    async def _admit(self, admissions: list[Admission]) -> None:
        self.seen.add_all(admissions)
        before = await self._read()
        results = await self.under_test.ledger.admit(admissions)
        self.account.begin_call(self.stage.now_ms)
        for admission, result in zip(admissions, results, strict=True):
            self.account.admit(admission, result)
        after = await self._read()
        self._check_windows(before, after)
        if len(admissions) == 1:
            self._check_all_or_nothing(admissions[0], after)

    async def _resolve(self, resolutions: list[Resolution]) -> None:
        self.seen.add_all(resolutions)
        before = await self._read()
        results = await self.under_test.ledger.resolve(resolutions)
        self.account.begin_call(self.stage.now_ms)
        for resolution, result in zip(resolutions, results, strict=True):
            self.account.resolve(resolution, result)
        self._check_windows(before, await self._read())

    async def _adjust(self, adjustment: Adjustment) -> None:
        self.seen.add(adjustment.plan, adjustment.user_id)
        before = await self._read()
        result = await adjust(self.under_test, adjustment)
        self.account.begin_call(self.stage.now_ms)
        self.account.adjust(adjustment, result)
        self._check_windows(before, await self._read())

    def _check_all_or_nothing(self, admission: Admission, after: Counted) -> None:
        """Invariant 2: all counters of the plan moved alike; after a refusal none did."""
        judged = self.account.last_judged
        if judged is None:
            return
        shown = [after[entry.window, admission.user_id] for entry in admission.plan.counters]
        if judged.allowed:
            moves = {
                tuple(new - old for new, old in zip(now, then, strict=True))
                for now, then in zip(shown, judged.planned, strict=True)
            }
            self._require(2, len(moves) == 1, f"the counters of {admission.request_id} moved by {moves}")
        else:
            self._require(2, shown == judged.stored, f"a refusal moved {judged.stored} to {shown}")

    def _check_windows(self, before: Counted, after: Counted) -> None:
        """Invariant 6: only windows of the requests that were admitted or ended in this call changed."""
        for key, numbers in after.items():
            is_owner = key in self.account.touched
            self._require(6, is_owner or numbers == before[key], f"{key} changed: {before[key]} to {numbers}")

    async def _check_conservation(self) -> None:
        """Invariant 4: counters and totals are the sums of the requests; what is held and counted is never negative."""
        books = self.account.books
        for key, numbers in (await self._read()).items():
            expected = books.numbers(*key)
            self._require(4, min(numbers[1:]) >= 0 and numbers == expected, f"{key}: {numbers}, not {expected}")
        for row in books.totals:
            state = await self.under_test.book.tier_total(row.window, row.tier)
            total = (state.spend_nanos, state.held_nanos, state.calls)
            self._require(4, total == books.total(row), f"{row}: {total}, not {books.total(row)}")
        await self._check_breakdown()

    async def _check_breakdown(self) -> None:
        """Invariant 4 again: by group, by model and by tier a day's rows have the same sum, that of its requests."""
        for day in self.seen.days:
            rows = await self.under_test.book.breakdown(day)
            for dimension in Dimension:
                used = sum((used for key, used in rows.items() if key.dimension is dimension), NOTHING)
                total = (used.cost_nanos, used.calls)
                expected = self.account.books.used(day)
                self._require(4, total == expected, f"by {dimension} {day}: {total}, not {expected}")

    async def _check_log(self) -> None:
        """Invariant 7: the events and the tallies are those that were due, no more and no less."""
        books = self.account.books
        events = [(event["type"], event["user"], event["request"]) for event in await self.under_test.book.events()]
        self._require(7, events == books.events, f"events {events}, not {books.events}")
        for window, rule_id in self.seen.tallies:
            tally = await self.under_test.book.tally(window, rule_id)
            expected = {key[2]: number for key, number in books.tallies.items() if key[:2] == (window, rule_id)}
            due = {name: number for name, number in expected.items() if number}
            self._require(7, tally == due, f"tally of {rule_id}: {tally}, not {due}")

    async def _read(self) -> Counted:
        counted: Counted = {}
        for window, user_id in self.seen.counters:
            state = await self.under_test.book.counter(window, user_id)
            counted[window, user_id] = (state.spend_nanos, state.held_nanos, state.calls)
        return counted
