"""Checks and reserves: limits, actions, modes, refusals. Every ledger must pass."""

import pytest

from ledger.decisions import (
    Operation,
    Outcome,
    Reason,
    TooLate,
    Warning,  # noqa: A004 - the contract's word
    WarningKind,
)
from ledger.errors import CounterOverflow
from ledger.money import CAP_NANOS
from ledger.rules import DENY, Action, Mode, PlanName, RuleStatus
from ledger.windows import WindowType
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


async def _outcome(caller: Caller, usd: float) -> tuple[Outcome, Reason]:
    decision = await caller.check(usd)
    return decision.outcome, decision.reason
