"""What is counted where: windows, new zones, tier totals, and what usage shows. Every ledger must pass."""

from ledger.decisions import (
    Outcome,
    StalePlan,
)
from ledger.rules import RuleSet
from ledger.windows import Calendar, WeekStart, WindowType
from tests.support.ledger_under_test import NOON_MS, Caller, LedgerUnderTest, nanos, rule, rules, template


async def test_a_plan_of_another_day_is_stale(ledger: LedgerUnderTest) -> None:
    """The store's time owns the windows: the caller plans again."""
    caller = Caller(ledger, rules())
    plan = caller.plan()
    await ledger.set_time(plan.valid_until_ms)
    assert StalePlan(plan.valid_until_ms) == await caller.try_check(1, plan=plan)
    assert (0, 0) == await caller.spent_and_held()


async def test_a_plan_of_tomorrow_is_stale(ledger: LedgerUnderTest) -> None:
    """A sidecar whose clock runs ahead is told the store's time."""
    caller = Caller(ledger, rules())
    plan = caller.plan(at_ms=NOON_MS + 24 * 3_600_000)
    assert StalePlan(NOON_MS) == await caller.try_check(1, plan=plan)


async def test_the_next_window_starts_from_zero(ledger: LedgerUnderTest) -> None:
    """A used-up day is over at midnight."""
    caller = Caller(ledger, rules(rule(limit_usd=5, window=WindowType.DAY)))
    await caller.check(5)
    await caller.pass_time(12)
    assert (await caller.check(5)).allowed


async def test_tier_totals_count_calls_and_spend(ledger: LedgerUnderTest) -> None:
    """A reserve is a call at once and spend when it is settled."""
    caller = Caller(ledger, rules(template("pro", 100)))
    await caller.check(2, tier="pro")
    await caller.reserve(3, tier="pro", user_id="bob", request_id="h")
    assert (nanos(2), 2) == await _tier_total(caller, "pro")
    await caller.settle("h", 4, user_id="bob")
    assert (nanos(6), 2) == await _tier_total(caller, "pro")


async def test_the_total_of_any_tier_counts_those_it_applied_to(ledger: LedgerUnderTest) -> None:
    """Users without a tier, or whose tier has no template, are in the row of the star."""
    caller = Caller(ledger, rules(template("*", 100), template("pro", 100)))
    await caller.check(1)
    await caller.check(2, tier="unknown")
    await caller.check(4, tier="pro")
    assert (nanos(3), 2) == await _tier_total(caller, "*")


async def test_overridden_users_count_for_the_tier_they_sent(ledger: LedgerUnderTest) -> None:
    """An override replaces the limits, not the statistics."""
    caller = Caller(ledger, rules(rule(limit_usd=100), template("pro", 1)))
    await caller.check(2, tier="pro")
    assert (nanos(2), 1) == await _tier_total(caller, "pro")


async def test_a_block_is_no_call_of_the_tier(ledger: LedgerUnderTest) -> None:
    """Denied calls count nowhere."""
    caller = Caller(ledger, rules(template("pro", 1)))
    await caller.check(2, tier="pro")
    assert (0, 0) == await _tier_total(caller, "pro")


async def test_a_new_zone_starts_from_the_workspaces_counter(ledger: LedgerUnderTest) -> None:
    """A rule in Berlin's zone knows what was spent before it existed, and says that it is seeded."""
    caller = Caller(ledger, rules())
    await caller.check(7)
    caller.rule_set = _berlin(10)
    budget = (await caller.check(2)).budgets[0]
    assert (nanos(9), True) == (budget.spend_nanos, budget.seeded)
    assert Outcome.BLOCK is (await caller.check(2)).outcome


async def test_holds_are_seeded_as_spend(ledger: LedgerUnderTest) -> None:
    """An open hold is settled in the windows of its reserve only; in a new zone it must not let a limit be passed."""
    caller = Caller(ledger, rules())
    await caller.reserve(7, request_id="h")
    caller.rule_set = _berlin(10)
    budget = (await caller.check(1)).budgets[0]
    assert (nanos(8), 0, True) == (budget.spend_nanos, budget.held_nanos, budget.seeded)
    await caller.settle("h", 7)
    assert Outcome.BLOCK is (await caller.check(9)).outcome


async def test_a_zone_without_any_earlier_spend_is_not_seeded(ledger: LedgerUnderTest) -> None:
    """A user's first call ever starts all counters from zero."""
    caller = Caller(ledger, _berlin(10))
    budget = (await caller.check(2)).budgets[0]
    assert (nanos(2), False) == (budget.spend_nanos, budget.seeded)


async def test_a_zone_that_was_counted_before_is_not_seeded(ledger: LedgerUnderTest) -> None:
    """Berlin's month of February starts an hour before the workspace's: January's spend stays behind."""
    caller = Caller(ledger, _berlin(10))
    await caller.check(7)
    await ledger.set_time(NOON_MS + 11 * 3_600_000)
    budget = (await caller.check(2)).budgets[0]
    assert (nanos(2), False) == (budget.spend_nanos, budget.seeded)


async def test_usage_shows_a_seeded_zone_and_stores_nothing(ledger: LedgerUnderTest) -> None:
    """Looking does not fix the seed: what is spent meanwhile is in it later."""
    caller = Caller(ledger, rules())
    await caller.check(3)
    plan = Caller(ledger, _berlin(10)).plan()
    seen = await ledger.ledger.usage("alice", plan)
    await caller.check(3)
    again = await ledger.ledger.usage("alice", plan)
    index = plan.budgets[0].counter
    assert [(nanos(3), True), (nanos(6), True)] == [
        (usage.counters[index].spend_nanos, usage.counters[index].seeded) for usage in (seen, again)
    ]


async def test_usage_counts_open_holds(ledger: LedgerUnderTest) -> None:
    """Spend, holds and calls of day, week and month, and how many holds are open."""
    caller = Caller(ledger, rules(rule()))
    await caller.check(1)
    await caller.reserve(2)
    usage = await ledger.ledger.usage("alice", caller.plan())
    assert (NOON_MS, 1) == (usage.at_ms, usage.open_holds)
    assert [(nanos(1), nanos(2), 2)] * 3 == [
        (state.spend_nanos, state.held_nanos, state.calls) for state in usage.counters
    ]


async def test_a_week_may_start_on_sunday(ledger: LedgerUnderTest) -> None:
    """Sunday, 1 February begins a new week for one rule and ends none for the other."""
    sunday = rule(window=WindowType.WEEK, calendar=Calendar("UTC", WeekStart.SUNDAY), limit_usd=10)
    caller = Caller(ledger, rules(sunday))
    await caller.check(9)
    await caller.pass_time(13)
    assert nanos(9) == (await caller.check(9)).budgets[0].spend_nanos
    assert nanos(18) == (await caller.counter(WindowType.WEEK)).spend_nanos


def _berlin(limit_usd: float) -> RuleSet:
    """Return alice's rule for a month in another zone than the workspace's."""
    return rules(rule(limit_usd=limit_usd, calendar=Calendar("Europe/Berlin")), revision=2)


async def _tier_total(caller: Caller, tier: str) -> tuple[int, int]:
    month = caller.plan().counters[2].window
    state = await caller.under_test.book.tier_total(month, tier)
    return state.spend_nanos, state.calls
