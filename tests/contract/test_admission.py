"""Checks and reserves: limits, actions, modes, warnings, totals. Every ledger must pass."""

import pytest

from ledger.decisions import (
    Decision,
    Operation,
    Outcome,
    Reason,
    StalePlan,
    TooLate,
    Warning,  # noqa: A004 - the contract's word
    WarningKind,
)
from ledger.errors import CounterOverflow
from ledger.money import CAP_NANOS
from ledger.rules import DENY, Action, Mode, PlanName, RuleSet, RuleStatus
from ledger.windows import Calendar, WeekStart, WindowType
from tests.support.ledger_under_test import NOON_MS, Caller, LedgerUnderTest, nanos, refusal, rule, rules, template


def threshold(pct: int, *, first: bool = True) -> Warning:
    """Return the warning of a threshold."""
    return Warning(WarningKind.THRESHOLD, pct, first)


async def test_landing_exactly_on_the_limit_is_allowed(ledger: LedgerUnderTest) -> None:
    """The call that uses the limit up is still admitted."""
    caller = Caller(ledger, rules(rule(thresholds_pct=())))
    assert (Outcome.ALLOW, Reason.UNDER_LIMIT) == (await _outcome(caller, 10))


async def test_the_call_after_the_limit_is_blocked(ledger: LedgerUnderTest) -> None:
    """At the limit even a call that costs nothing is refused."""
    caller = Caller(ledger, rules(rule()))
    await caller.check(10)
    assert (Outcome.BLOCK, Reason.LIMIT) == (await _outcome(caller, 0))


async def test_a_call_too_large_for_the_rest_is_blocked(ledger: LedgerUnderTest) -> None:
    """A nano-dollar past the limit is past the limit."""
    caller = Caller(ledger, rules(rule()))
    await caller.check(4)
    assert (Outcome.BLOCK, Reason.LIMIT) == (await _outcome(caller, 6.000000001))


async def test_exactly_floor_of_limit_by_cost_is_admitted(ledger: LedgerUnderTest) -> None:
    """Of ten equal checks the first three fit under the limit."""
    caller = Caller(ledger, rules(rule()))
    allowed = [(await caller.check(3)).allowed for _ in range(10)]
    assert [True] * 3 + [False] * 7 == allowed


async def test_a_block_changes_nothing_but_the_log(ledger: LedgerUnderTest) -> None:
    """A refused call charges, holds and counts nothing."""
    caller = Caller(ledger, rules(rule()))
    await caller.check(4)
    before = await caller.counter()
    await caller.reserve(7)
    assert (before, ["blocked"]) == (await caller.counter(), await caller.event_types())


async def test_a_block_answers_the_numbers_as_they_are(ledger: LedgerUnderTest) -> None:
    """The refused amount is not in the spend that the answer shows."""
    caller = Caller(ledger, rules(rule()))
    await caller.check(4)
    budget = (await caller.check(7)).budgets[0]
    assert (nanos(4), 0, nanos(6)) == (budget.spend_nanos, budget.held_nanos, budget.remaining_nanos)


async def test_a_limit_of_zero_blocks_all(ledger: LedgerUnderTest) -> None:
    """Nothing passes a limit of zero, not even a free call."""
    caller = Caller(ledger, rules(rule(limit_usd=0)))
    assert Outcome.BLOCK is (await caller.check(0)).outcome


async def test_unlimited_counts_and_never_acts(ledger: LedgerUnderTest) -> None:
    """An unlimited budget has no remaining amount."""
    caller = Caller(ledger, rules(rule(limit_usd=None)))
    decision = await caller.check(1000)
    budget = decision.budgets[0]
    assert (Reason.UNLIMITED, nanos(1000), None) == (decision.reason, budget.spend_nanos, budget.remaining_nanos)


async def test_no_rule_still_counts(ledger: LedgerUnderTest) -> None:
    """A user without rules is counted in the workspace's windows."""
    caller = Caller(ledger, rules())
    decision = await caller.check(2)
    assert (Reason.NO_RULE, (), None) == (decision.reason, decision.budgets, decision.decider)
    assert (nanos(2), 0) == await caller.spent_and_held()


async def test_day_week_and_month_are_counted_on_every_charge(ledger: LedgerUnderTest) -> None:
    """A rule with another window type is right from its first second."""
    caller = Caller(ledger, rules(rule()))
    await caller.check(2)
    assert [nanos(2)] * 3 == [(await caller.counter(kind)).spend_nanos for kind in WindowType]


async def test_a_new_rule_acts_on_what_was_spent_before(ledger: LedgerUnderTest) -> None:
    """The spend of a day without rules counts against a rule that comes later."""
    caller = Caller(ledger, rules())
    await caller.check(9)
    caller.rule_set = rules(rule(limit_usd=10, window=WindowType.DAY), revision=2)
    assert Outcome.BLOCK is (await caller.check(2)).outcome


async def test_all_matching_budgets_or_none_are_charged(ledger: LedgerUnderTest) -> None:
    """A daily limit in the way leaves the monthly counter alone."""
    caller = Caller(ledger, rules(template("pro", 100), template("pro", 5, window=WindowType.DAY)))
    await caller.check(4, tier="pro")
    await caller.check(4, tier="pro")
    assert nanos(4) == (await caller.counter()).spend_nanos


async def test_the_fullest_blocking_budget_decides(ledger: LedgerUnderTest) -> None:
    """Of two limits in the way the answer names the one with the larger share in use."""
    daily, monthly = template("pro", 5, window=WindowType.DAY), template("pro", 6)
    caller = Caller(ledger, rules(monthly, daily))
    await caller.check(4, tier="pro")
    decision = await caller.check(4, tier="pro")
    assert (1, daily.id) == (decision.decider, decision.budgets[1].terms.rule_id)


async def test_block_wins_over_dry_run_and_warn(ledger: LedgerUnderTest) -> None:
    """Every budget keeps its own outcome; the call has the strongest."""
    warned = template("pro", 1, window=WindowType.DAY, action=Action.WARN)
    dry = template("pro", 1, window=WindowType.WEEK, action=Action.DRY_RUN)
    caller = Caller(ledger, rules(warned, dry, template("pro", 1)))
    decision = await caller.check(2, tier="pro")
    assert [Outcome.WARN, Outcome.DRY_RUN, Outcome.BLOCK] == [budget.outcome for budget in decision.budgets]
    assert (Outcome.BLOCK, 2) == (decision.outcome, decision.decider)


async def test_every_budget_of_a_block_is_tallied(ledger: LedgerUnderTest) -> None:
    """One event lists all outcomes; each rule counts its own."""
    warned = template("pro", 1, window=WindowType.DAY, action=Action.WARN)
    blocking = template("pro", 1)
    caller = Caller(ledger, rules(warned, blocking))
    await caller.check(2, tier="pro")
    (event,) = await ledger.book.events()
    assert f"{warned.id}=warn,{blocking.id}=block" == event["outcomes"]
    assert {"warned": 1, "warned_nanos": nanos(2)} == await caller.tally(warned)
    assert {"blocked": 1, "blocked_nanos": nanos(2)} == await caller.tally(blocking)


async def test_dry_run_proceeds_and_is_counted(ledger: LedgerUnderTest) -> None:
    """What would have been blocked is charged and logged as dry run."""
    dry = rule(limit_usd=1, action=Action.DRY_RUN, thresholds_pct=())
    caller = Caller(ledger, rules(dry))
    decision = await caller.check(2)
    assert (Outcome.DRY_RUN, Reason.LIMIT) == (decision.outcome, decision.reason)
    assert (nanos(2), 0) == await caller.spent_and_held()
    assert {"dry_run": 1, "dry_run_nanos": nanos(2), "dry_run_users": 1} == await caller.tally(dry)


async def test_a_dry_run_counts_a_user_once_a_window(ledger: LedgerUnderTest) -> None:
    """Calls are counted each time, users once."""
    dry = rule(limit_usd=1, action=Action.DRY_RUN, thresholds_pct=())
    caller = Caller(ledger, rules(dry))
    for _ in range(3):
        await caller.check(2)
    tally = await caller.tally(dry)
    assert (3, 1) == (tally["dry_run"], tally["dry_run_users"])


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


async def test_only_holds_in_the_way_is_held_capacity(ledger: LedgerUnderTest) -> None:
    """The answer hints when the first hold is due."""
    caller = Caller(ledger, rules(rule()))
    await caller.reserve(6, ttl_s=100)
    await caller.reserve(3, ttl_s=30)
    decision = await caller.check(2)
    assert (Reason.HELD_CAPACITY, 30_000) == (decision.reason, decision.retry_after_ms)


async def test_spend_in_the_way_is_limit_even_with_holds(ledger: LedgerUnderTest) -> None:
    """What would not fit without the holds either is a matter of the limit."""
    caller = Caller(ledger, rules(rule()))
    await caller.check(5)
    await caller.reserve(2)
    decision = await caller.check(6)
    assert (Reason.LIMIT, None) == (decision.reason, decision.retry_after_ms)


@pytest.mark.parametrize("action", [Action.WARN, Action.DRY_RUN])
async def test_held_capacity_is_told_where_calls_proceed(ledger: LedgerUnderTest, action: Action) -> None:
    """Under warn and dry run the reason is the same, and so is the hint."""
    caller = Caller(ledger, rules(rule(action=action)))
    await caller.reserve(9, ttl_s=60)
    decision = await caller.reserve(5, ttl_s=10)
    assert (Reason.HELD_CAPACITY, 60_000) == (decision.reason, decision.retry_after_ms)


async def test_observe_turns_blocks_into_dry_runs(ledger: LedgerUnderTest) -> None:
    """The call proceeds; the budget's terms still show the rule's own action."""
    caller = Caller(ledger, rules(rule(limit_usd=1, thresholds_pct=()), mode=Mode.OBSERVE))
    decision = await caller.check(2)
    assert (Outcome.DRY_RUN, Action.BLOCK) == (decision.outcome, decision.budgets[0].terms.action)
    assert ["dry_run"] == await caller.event_types()


async def test_stop_blocks_everything(ledger: LedgerUnderTest) -> None:
    """Users without any rule are stopped too, with one event each."""
    caller = Caller(ledger, rules(mode=Mode.STOP))
    decision = await caller.check(1)
    assert (Outcome.BLOCK, Reason.STOPPED, None) == (decision.outcome, decision.reason, decision.decider)
    assert ["blocked"] == await caller.event_types()
    assert (0, 0) == await caller.spent_and_held()


async def test_stop_judges_no_budget(ledger: LedgerUnderTest) -> None:
    """The fullest rule is named and counts the block; no budget has an outcome of its own."""
    stopped = rule()
    caller = Caller(ledger, rules(stopped, mode=Mode.STOP))
    decision = await caller.check(1)
    assert (0, Outcome.ALLOW) == (decision.decider, decision.budgets[0].outcome)
    assert {"blocked": 1, "blocked_nanos": nanos(1)} == await caller.tally(stopped)


async def test_a_workspace_below_growth_only_counts(ledger: LedgerUnderTest) -> None:
    """No rule acts without the plan, and the reason says so."""
    caller = Caller(ledger, rules(rule(limit_usd=0), plan=PlanName.STARTER))
    decision = await caller.check(3)
    assert (Outcome.ALLOW, Reason.PLAN, ()) == (decision.outcome, decision.reason, decision.budgets)
    assert (nanos(3), 0) == await caller.spent_and_held()


async def test_a_disabled_override_falls_through_to_the_template(ledger: LedgerUnderTest) -> None:
    """Only active rules replace the tier's."""
    caller = Caller(ledger, rules(rule(limit_usd=100, status=RuleStatus.DISABLED), template("pro", 1)))
    assert Outcome.BLOCK is (await caller.check(2, tier="pro")).outcome


async def test_a_refusal_names_its_budget(ledger: LedgerUnderTest) -> None:
    """An unpriced call that a rule denies is counted by that rule, not by the fullest."""
    other, denying = template("pro", 1), template("pro", 100, window=WindowType.DAY, on_unpriced=DENY)
    caller = Caller(ledger, rules(other, denying))
    decision = await caller.check(0, tier="pro", refusal=Reason.UNPRICED, refusal_budget=1, model="new-model")
    assert (Outcome.BLOCK, Reason.UNPRICED, 1) == (decision.outcome, decision.reason, decision.decider)
    assert ({}, {"blocked": 1}) == (await caller.tally(other), await caller.tally(denying))


async def test_an_unpriced_call_that_proceeds_is_listed(ledger: LedgerUnderTest) -> None:
    """Its reason is unpriced and an event tells the model."""
    caller = Caller(ledger, rules(rule()))
    decision = await caller.check(0, unpriced=True, model="new-model")
    (event,) = await ledger.book.events()
    assert (Outcome.ALLOW, Reason.UNPRICED) == (decision.outcome, decision.reason)
    assert ("unpriced", "new-model") == (event["type"], event["model"])


async def test_an_unpriced_call_that_warns_has_both_events(ledger: LedgerUnderTest) -> None:
    """A warning keeps its own reason beside the event of the missing price."""
    caller = Caller(ledger, rules(rule(limit_usd=1, action=Action.WARN)))
    decision = await caller.check(2, unpriced=True)
    assert (Reason.LIMIT, ["warned", "unpriced"]) == (decision.reason, await caller.event_types())


async def test_an_event_tells_the_counter_after_the_operation(ledger: LedgerUnderTest) -> None:
    """Spend at time includes the call that was warned, held stands beside it."""
    watched = rule(action=Action.WARN)
    caller = Caller(ledger, rules(watched))
    await caller.reserve(1)
    usage = {"group": "search", "model": "m", "price_version": "book 1"}
    await caller.check(8, **usage, meta='{"team":"a"}', request_id="r1", tier="pro")
    (event,) = await ledger.book.events()
    window = caller.plan().budgets[0].terms.window.code
    assert {
        "type": "warned",
        "at": str(NOON_MS),
        "user": "alice",
        "request": "r1",
        "tier": "pro",
        "rule": watched.id,
        "window": window,
        "reason": "threshold",
        "amount": str(nanos(8)),
        "spend": str(nanos(8)),
        "held": str(nanos(1)),
        "limit": str(nanos(10)),
        **usage,
        "meta": '{"team":"a"}',
        "outcomes": f"{watched.id}=warn",
    } == event


async def test_a_counter_that_would_pass_the_cap_is_an_overflow(ledger: LedgerUnderTest) -> None:
    """Spend, holds and amount together stay within 8,000,000 USD."""
    caller = Caller(ledger, rules())
    await caller.check(7_000_000)
    await caller.reserve(999_999)
    assert (CounterOverflow, "counter_overflow", None) == refusal(await caller.try_check(2))
    assert (await caller.check(1)).allowed


async def test_an_overflow_changes_nothing(ledger: LedgerUnderTest) -> None:
    """Not even the log."""
    caller = Caller(ledger, rules())
    await caller.check(8_000_000)
    await caller.try_reserve(1)
    assert ((CAP_NANOS, 0), []) == (await caller.spent_and_held(), await caller.event_types())


async def test_a_refusal_does_not_overflow(ledger: LedgerUnderTest) -> None:
    """What is refused anyway needs no room in the counter."""
    caller = Caller(ledger, rules())
    await caller.check(8_000_000)
    assert Outcome.BLOCK is (await caller.check(1, refusal=Reason.UNPRICED)).outcome


async def test_a_call_past_its_deadline_is_too_late(ledger: LedgerUnderTest) -> None:
    """Nothing is written after the caller was told something else."""
    caller = Caller(ledger, rules())
    assert TooLate(NOON_MS) == await caller.try_check(1, not_after_ms=NOON_MS - 1)
    assert (0, 0) == await caller.spent_and_held()


async def test_a_call_at_its_deadline_is_in_time(ledger: LedgerUnderTest) -> None:
    """The last millisecond counts."""
    caller = Caller(ledger, rules())
    assert (await caller.check(1, not_after_ms=NOON_MS)).allowed


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


async def test_a_list_is_decided_in_order_each_on_its_own(ledger: LedgerUnderTest) -> None:
    """A refused call in the middle does not stop the next; each sees what the ones before it did."""
    caller = Caller(ledger, rules(rule()))
    amounts = [6, 5, 4]
    results = await caller.admit(*[caller.admission(Operation.CHECK, usd) for usd in amounts])
    assert [True, False, True] == [getattr(result, "allowed", None) for result in results]


async def test_users_do_not_share_a_template(ledger: LedgerUnderTest) -> None:
    """A template's limit is for each user of the tier, not pooled."""
    caller = Caller(ledger, rules(template("pro", 5)))
    outcomes = [(await caller.check(5, tier="pro", user_id=user)).allowed for user in ("alice", "bob")]
    assert [True, True] == outcomes


async def test_a_tier_change_keeps_the_spend(ledger: LedgerUnderTest) -> None:
    """Counters belong to the user, not to the tier."""
    caller = Caller(ledger, rules(template("free", 5), template("pro", 10)))
    await caller.check(5, tier="free")
    assert Outcome.BLOCK is (await caller.check(6, tier="pro")).outcome


async def test_a_raise_unblocks_at_once(ledger: LedgerUnderTest) -> None:
    """Denied calls never counted, so nothing is in the way of the higher limit."""
    caller = Caller(ledger, rules(rule(limit_usd=5)))
    await caller.check(6)
    caller.rule_set = rules(rule(limit_usd=6), revision=2)
    assert (await caller.check(6)).allowed


async def test_a_lowered_limit_claws_nothing_back(ledger: LedgerUnderTest) -> None:
    """Spend past the new limit stays; the next call is refused."""
    caller = Caller(ledger, rules(rule(limit_usd=10)))
    await caller.check(8)
    caller.rule_set = rules(rule(limit_usd=5), revision=2)
    budget = (await caller.check(1)).budgets[0]
    assert (Outcome.BLOCK, nanos(8), nanos(-3)) == (budget.outcome, budget.spend_nanos, budget.remaining_nanos)


def _berlin(limit_usd: float) -> RuleSet:
    """Return alice's rule for a month in another zone than the workspace's."""
    return rules(rule(limit_usd=limit_usd, calendar=Calendar("Europe/Berlin")), revision=2)


async def _outcome(caller: Caller, usd: float) -> tuple[Outcome, Reason]:
    decision = await caller.check(usd)
    return decision.outcome, decision.reason


def _outcome_and_warning(decision: Decision) -> tuple[Outcome, Warning | None]:
    budget = decision.budgets[0]
    return budget.outcome, budget.warning


async def _tier_total(caller: Caller, tier: str) -> tuple[int, int]:
    month = caller.plan().counters[2].window
    state = await caller.under_test.book.tier_total(month, tier)
    return state.spend_nanos, state.calls
