"""Local allowances: never more than x, whatever the order, failing disks, crashes, cancelled calls and repeats."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.operations import Admission
from ledger.plans import Plan, compile_plan
from ledger.rules import Policy, PolicyKind
from ledger.windows import WindowType
from sidecar.allowance import Allowance
from tests.support.allowances import MemoryLog, memory_allowance
from tests.support.ledger_under_test import NOON_MS, rules, template
from tests.support.operations import admission_of

DAY_MS: Final = 24 * 3600 * 1000
LIMITS: Final = {WindowType.DAY: 10, WindowType.MONTH: 14}
USERS: Final = ("ada", "ada", "ada", "eve")
TIERS: Final = ("both", "both", "daily")
RULES: Final = rules(
    *[template("both", window=kind, on_store_failure=Policy(PolicyKind.AMOUNT, x)) for kind, x in LIMITS.items()],
    template("daily", window=WindowType.DAY, on_store_failure=Policy(PolicyKind.AMOUNT, 7)),
)
PLANS: Final[dict[tuple[str, int], Plan]] = {
    (tier, day): compile_plan(RULES, "anyone", tier, NOON_MS - day * DAY_MS) for tier in TIERS for day in (0, 1)
}

Key = tuple[str, str, str]
Step = tuple[str, int, int, str, str, int]

takings = st.tuples(
    st.just("take"),
    st.integers(0, 3),
    st.integers(0, 6),
    st.sampled_from(USERS),
    st.sampled_from(TIERS),
    st.sampled_from((0, 0, 0, 1)),
)
others = st.tuples(
    st.sampled_from(("succeed", "succeed", "fail", "cancel", "settle", "crash", "turn")),
    st.integers(0, 12),
    st.integers(0, 6),
    st.just(""),
    st.just(""),
    st.just(0),
)
steps = st.lists(takings | takings | others, min_size=20, max_size=80)


@dataclass
class Truth:
    """What callers were told: each allowed call by its id, with what it has cost since."""

    limits: dict[Key, int] = field(default_factory=dict)
    calls: dict[tuple[str, str], tuple[list[Key], int]] = field(default_factory=dict)
    settled: set[tuple[str, str]] = field(default_factory=set)

    def allow(self, admission: Admission) -> None:
        """Note an answer; a repeat of a call is charged once."""
        call = (admission.user_id, admission.request_id)
        keys = []
        for each in admission.plan.allowances:
            keys.append((each.rule_id, each.window.code, admission.user_id))
            self.limits[keys[-1]] = each.limit_nanos
        self.calls.setdefault(call, (keys, admission.amount_nanos))

    def passed(self) -> list[Key]:
        """Return the allowances of which more was let through than they are."""
        sums: Counter[Key] = Counter()
        for keys, nanos in self.calls.values():
            sums.update(dict.fromkeys(keys, nanos))
        return [key for key, nanos in sums.items() if nanos > self.limits[key]]


@dataclass
class World:
    """A sidecar's allowance, its log, the calls under way, and the truth."""

    log: MemoryLog = field(default_factory=lambda: MemoryLog(is_instant=False))
    truth: Truth = field(default_factory=Truth)
    under_way: list["asyncio.Task[None]"] = field(default_factory=list)
    allowance: Allowance = field(init=False)

    def __post_init__(self) -> None:
        """Start."""
        self.allowance = memory_allowance(lambda: NOON_MS, self.log)

    def take(self, number: int, nanos: int, user: str, tier: str, day: int) -> None:
        """Begin a call; a number that comes again is a repeat, unless something else about it changed."""
        request_id = f"{number}-{nanos}-{tier}-{day}"
        if (user, request_id) not in self.truth.settled:
            call = admission_of(PLANS[tier, day], user, request_id, nanos)
            self.under_way.append(asyncio.get_running_loop().create_task(self._answer(call)))

    async def _answer(self, call: Admission) -> None:
        if await self.allowance.take(call):
            self.truth.allow(call)

    def cancel(self, number: int) -> None:
        """Let the caller of something that is under way go."""
        if self.under_way:
            self.under_way.pop(number % len(self.under_way)).cancel()

    def settle(self, number: int, nanos: int) -> None:
        """Settle a call that was allowed, at its estimate at most."""
        calls = [call for call in self.truth.calls if call not in self.truth.settled]
        if calls:
            call = calls[number % len(calls)]
            keys, estimate = self.truth.calls[call]
            self.truth.settled.add(call)
            self.truth.calls[call] = (keys, min(nanos, estimate))
            self.allowance.settle(*call, min(nanos, estimate))

    def crash(self, survivors: int) -> None:
        """End at once, and start again on what is on disk."""
        for task in self.under_way:
            task.cancel()
        found = self.log.crash(survivors)
        self.log = MemoryLog(is_instant=False, kept=found)
        self.allowance = memory_allowance(lambda: NOON_MS, self.log)
        self.allowance.restore(found)


async def _play(script: Sequence[Step]) -> list[list[Key]]:
    world = World()
    seen = []
    for what, number, nanos, user, tier, day in script:
        if what == "take":
            world.take(number, nanos, user, tier, day)
        elif what in {"succeed", "fail"}:
            getattr(world.log, what)()
        elif what == "cancel":
            world.cancel(number)
        elif what == "settle":
            world.settle(number, nanos)
        elif what == "crash":
            world.crash(number)
        for _ in range(day if what == "take" else 3):
            await asyncio.sleep(0)
        seen.append(world.truth.passed())
    await asyncio.sleep(0)
    for _ in range(3):
        world.log.succeed()
        await asyncio.sleep(0)
    seen.append(world.truth.passed())
    for task in world.under_way:
        task.cancel()
    await asyncio.gather(*world.under_way, return_exceptions=True)
    return seen


@settings(max_examples=250, deadline=None)
@given(steps)
def test_never_more_is_let_through_than_an_allowance(script: Sequence[Step]) -> None:
    """For each rule, user and window, at every moment, over crashes and repeats; catches each missing bookkeeping."""
    assert all(not passed for passed in asyncio.run(_play(script)))


async def _play_in_order(script: Sequence[Step]) -> tuple[list[bool], list[bool]]:
    """Return what was answered, and what one counter for each allowance would have answered."""
    allowance = memory_allowance(lambda: NOON_MS)
    spent: Counter[Key] = Counter()
    answered, expected = [], []
    for number, (_, _, nanos, user, tier, day) in enumerate(script):
        plan = PLANS[tier, day]
        keys = {(each.rule_id, each.window.code, user): each.limit_nanos for each in plan.allowances}
        answered.append(await allowance.take(admission_of(plan, user, str(number), nanos)))
        expected.append(all(spent[key] < limit and spent[key] + nanos <= limit for key, limit in keys.items()))
        if expected[-1]:
            spent.update(dict.fromkeys(keys, nanos))
    return answered, expected


@settings(max_examples=100, deadline=None)
@given(st.lists(takings, min_size=15, max_size=40))
def test_everything_that_fits_is_let_through(script: Sequence[Step]) -> None:
    """Exactly as far as the allowance goes, to the last nano-dollar; catches one that is too careful."""
    answered, expected = asyncio.run(_play_in_order(script))
    assert expected == answered
