"""Settle, release, extend, expiry, and request ids that come again. Every ledger must pass."""

import pytest

from ledger.decisions import (
    FUTURE_TOLERANCE_MS,
    MAX_HOLD_MS,
    RETENTION_MS,
    HoldState,
    Operation,
    Outcome,
    Reason,
    Warning,  # noqa: A004 - the contract's word
    WarningKind,
)
from ledger.errors import CounterOverflow, HoldConflict, HoldNotFound, HoldTooOld, InvalidInput, RequestMismatch
from ledger.money import CAP_NANOS
from ledger.operations import Resolution
from ledger.rules import Action
from ledger.windows import WindowType
from tests.support.ledger_under_test import (
    HOUR_MS,
    NOON_MS,
    Caller,
    LedgerUnderTest,
    charging,
    nanos,
    refusal,
    released_at_expiry,
    rule,
    rules,
    template,
)

MANY_HOLDS = 70


@pytest.fixture
def caller(ledger: LedgerUnderTest) -> Caller:
    """Alice under a block at 10 USD a month, without thresholds."""
    return Caller(ledger, rules(rule(thresholds_pct=())))


async def test_a_reserve_holds_its_estimate(caller: Caller) -> None:
    """Nothing is spent yet, one call is counted."""
    decision = await caller.reserve(4)
    assert ((0, nanos(4)), HoldState.OPEN) == (await caller.spent_and_held(), decision.hold_state)
    assert 1 == (await caller.counter()).calls


async def test_settling_for_less_frees_the_rest_at_once(caller: Caller) -> None:
    """The difference is there for the next call."""
    await caller.reserve(10, request_id="h")
    await caller.settle("h", 1)
    assert (nanos(1), 0) == await caller.spent_and_held()
    assert (await caller.reserve(9)).allowed


async def test_settling_for_more_is_charged_in_full(caller: Caller) -> None:
    """A known actual is never capped; the overrun is logged and the next reserve blocks."""
    await caller.reserve(10, request_id="h")
    settlement = await caller.settle("h", 12)
    assert (nanos(12), nanos(10)) == (settlement.charged_nanos, settlement.estimate_nanos)
    assert ((nanos(12), 0), ["overrun"]) == (await caller.spent_and_held(), await caller.event_types())
    assert not (await caller.reserve(1)).allowed


async def test_an_overrun_is_tallied_with_its_excess(caller: Caller) -> None:
    """The rule counts what went past the estimate, not the whole amount."""
    await caller.reserve(10, request_id="h")
    await caller.settle("h", 12)
    assert {"overrun": 1, "overrun_nanos": nanos(2)} == await caller.tally(caller.rule_set.rules[0])


async def test_settles_are_stored_exactly_beyond_the_cap(ledger: LedgerUnderTest) -> None:
    """A known actual is never capped, not even beyond what a double can count; the next admission overflows."""
    caller = Caller(ledger, rules())
    actuals = {"a": 8_000_000, "b": 0.000000001, "c": 8_000_000}
    for request_id in actuals:
        await caller.reserve(1, request_id=request_id)
    for request_id, usd in actuals.items():
        await caller.settle(request_id, usd)
    assert 2 * CAP_NANOS + 1 == (await caller.counter()).spend_nanos
    assert (CounterOverflow, "counter_overflow", None) == refusal(await caller.try_check(0))


async def test_settling_for_nothing_ends_the_hold(caller: Caller) -> None:
    """An actual of zero is legal and still a call."""
    await caller.reserve(4, request_id="h")
    settlement = await caller.settle("h", 0)
    assert (Outcome.ALLOW, HoldState.OPEN) == (settlement.outcome, settlement.state_before)
    assert ((0, 0), 1) == (await caller.spent_and_held(), (await caller.counter()).calls)


async def test_a_release_gives_hold_and_call_back(caller: Caller) -> None:
    """As if it had never been."""
    await caller.reserve(4, request_id="h", tier="pro")
    settlement = await caller.release("h")
    assert (Outcome.ALLOW, Reason.UNDER_LIMIT, 0) == (settlement.outcome, settlement.reason, settlement.charged_nanos)
    assert ((0, 0), 0) == (await caller.spent_and_held(), (await caller.counter()).calls)


async def test_a_release_takes_the_call_of_the_tier_back(ledger: LedgerUnderTest) -> None:
    """Tier totals count calls at admission; a release undoes that."""
    caller = Caller(ledger, rules(template("pro", 10)))
    await caller.reserve(4, request_id="h", tier="pro")
    await caller.release("h")
    total = await ledger.book.tier_total(caller.plan().counters[2].window, "pro")
    assert (0, 0) == (total.spend_nanos, total.calls)


async def test_a_settle_after_the_deadline_corrects_what_expiry_charged(caller: Caller) -> None:
    """The hold expires first, at its estimate; the settle charges the difference."""
    await caller.reserve(4, request_id="h", ttl_s=60)
    await caller.pass_time(1)
    settlement = await caller.settle("h", 1)
    assert (HoldState.EXPIRED, nanos(1)) == (settlement.state_before, settlement.charged_nanos)
    assert ((nanos(1), 0), ["expired", "late_settle"]) == (await caller.spent_and_held(), await caller.event_types())


async def test_a_settle_after_the_deadline_above_the_estimate_is_an_overrun(caller: Caller) -> None:
    """Late and more than was held: both are logged."""
    await caller.reserve(4, request_id="h", ttl_s=60)
    await caller.pass_time(1)
    await caller.settle("h", 5)
    assert ((nanos(5), 0), ["expired", "late_settle", "overrun"]) == (
        await caller.spent_and_held(),
        await caller.event_types(),
    )


async def test_a_settle_after_a_release_is_charged_and_logged(caller: Caller) -> None:
    """The money is gone all the same; the call counts again."""
    await caller.reserve(4, request_id="h")
    await caller.release("h")
    settlement = await caller.settle("h", 3)
    assert (HoldState.RELEASED, nanos(3)) == (settlement.state_before, settlement.charged_nanos)
    assert ((nanos(3), 0), 1) == (await caller.spent_and_held(), (await caller.counter()).calls)
    assert ["late_settle"] == await caller.event_types()


async def test_the_first_settle_is_final(caller: Caller) -> None:
    """Another amount is a conflict and changes nothing."""
    await caller.reserve(4, request_id="h")
    await caller.settle("h", 3)
    assert (HoldConflict, "already_settled", None) == refusal(await caller.try_settle("h", 2))
    assert (nanos(3), 0) == await caller.spent_and_held()


async def test_a_repeated_settle_is_a_replay(caller: Caller) -> None:
    """The same amount gives the first answer, later and with other numbers in the counters."""
    await caller.reserve(4, request_id="h")
    first = await caller.settle("h", 3)
    await caller.check(1)
    await caller.pass_time(1)
    again = await caller.settle("h", 3)
    assert (True, first.at_ms, first.budgets) == (again.replayed, again.at_ms, again.budgets)
    assert (nanos(4), 0) == await caller.spent_and_held()


async def test_a_repeated_release_is_a_replay(caller: Caller) -> None:
    """Nothing is given back twice."""
    await caller.reserve(4, request_id="h")
    await caller.check(1)
    await caller.release("h")
    assert (await caller.release("h")).replayed
    assert ((nanos(1), 0), 1) == (await caller.spent_and_held(), (await caller.counter()).calls)


async def test_a_release_after_a_settle_is_a_conflict(caller: Caller) -> None:
    """What is settled cannot be given back."""
    await caller.reserve(4, request_id="h")
    await caller.settle("h", 3)
    assert (HoldConflict, "already_settled", None) == refusal(await caller.resolve(Operation.RELEASE, "h"))


@pytest.mark.parametrize("operation", [Operation.SETTLE, Operation.RELEASE, Operation.EXTEND])
async def test_a_checks_id_is_no_hold(caller: Caller, operation: Operation) -> None:
    """A check was charged already; nothing ends it."""
    await caller.check(4, request_id="c")
    result = await caller.resolve(operation, "c", amount_nanos=1, sent="x", ttl_ms=1000)
    assert (HoldConflict, "not_a_hold", None) == refusal(result)
    assert (nanos(4), 0) == await caller.spent_and_held()


@pytest.mark.parametrize("operation", [Operation.RELEASE, Operation.EXTEND])
async def test_an_unknown_id_is_not_found(caller: Caller, operation: Operation) -> None:
    """Nothing is written for it."""
    assert (HoldNotFound, "hold_not_found", None) == refusal(await caller.resolve(operation, "nobody", ttl_ms=1000))
    assert [] == await caller.event_types()


async def test_holds_are_found_by_user_and_id(caller: Caller) -> None:
    """Bob's id is not alice's."""
    await caller.reserve(4, request_id="h")
    assert (HoldNotFound, "hold_not_found", None) == refusal(
        await caller.resolve(Operation.RELEASE, "h", user_id="bob")
    )


async def test_a_settle_of_an_unknown_id_is_kept_as_unattributed(caller: Caller) -> None:
    """Without the time of its reserve it is a 404; the amount is summed once an id."""
    for _ in range(2):
        assert (HoldNotFound, "hold_not_found", None) == refusal(await caller.try_settle("lost", 3))
    assert ((0, 0), ["unattributed"]) == (await caller.spent_and_held(), await caller.event_types())
    assert (1, nanos(3)) == await caller.under_test.book.unattributed()


async def test_a_settle_with_its_time_is_reconstructed(caller: Caller) -> None:
    """A reserve that was lost is charged under its own id."""
    settlement = await caller.settle("lost", 3, reserved_at_ms=NOON_MS - HOUR_MS)
    assert (HoldState.UNKNOWN, nanos(3)) == (settlement.state_before, settlement.charged_nanos)
    assert ((nanos(3), 0), 1) == (await caller.spent_and_held(), (await caller.counter()).calls)
    assert ["reconstructed"] == await caller.event_types()


async def test_a_reconstructed_settle_is_charged_once(caller: Caller) -> None:
    """Its repeat is a replay, another amount a conflict."""
    await caller.settle("lost", 3, reserved_at_ms=NOON_MS)
    assert (await caller.settle("lost", 3, reserved_at_ms=NOON_MS)).replayed
    assert (HoldConflict, "already_settled", None) == refusal(await caller.try_settle("lost", 4))
    assert (nanos(3), 0) == await caller.spent_and_held()


async def test_a_reconstructed_settle_belongs_to_the_day_of_its_reserve(caller: Caller) -> None:
    """The window of admission owns the spend, even when the admission is unknown."""
    await caller.settle("lost", 3, reserved_at_ms=NOON_MS - 24 * HOUR_MS)
    days = [await caller.counter(WindowType.DAY, at_ms=at_ms) for at_ms in (NOON_MS, NOON_MS - 24 * HOUR_MS)]
    assert [0, nanos(3)] == [day.spend_nanos for day in days]


@pytest.mark.parametrize("operation", [Operation.RELEASE, Operation.EXTEND])
async def test_a_reconstructed_id_is_no_hold(caller: Caller, operation: Operation) -> None:
    """There never was a hold that could be given back."""
    await caller.settle("lost", 3, reserved_at_ms=NOON_MS)
    assert (HoldConflict, "not_a_hold", None) == refusal(await caller.resolve(operation, "lost", ttl_ms=1000))


async def test_a_late_reserve_of_a_reconstructed_id_is_a_mismatch(caller: Caller) -> None:
    """The id is used up: the reserve would be charged twice."""
    await caller.settle("lost", 3, reserved_at_ms=NOON_MS)
    mismatch = refusal(await caller.try_reserve(3, request_id="lost"))
    assert (RequestMismatch, "request_mismatch", "operation") == mismatch


async def test_a_marked_id_can_still_be_charged(caller: Caller) -> None:
    """An unattributed settle that comes again with its time finds its place."""
    await caller.try_settle("lost", 3)
    await caller.settle("lost", 3, reserved_at_ms=NOON_MS)
    assert (nanos(3), 0) == await caller.spent_and_held()


async def test_a_marked_id_can_still_be_reserved(caller: Caller) -> None:
    """A marker is no answer to a reserve."""
    await caller.try_settle("h", 3)
    assert not (await caller.reserve(2, request_id="h")).replayed


async def test_a_reserve_in_the_future_is_refused(caller: Caller) -> None:
    """The field is named, nothing is written."""
    result = await caller.try_settle("lost", 3, reserved_at_ms=NOON_MS + FUTURE_TOLERANCE_MS + 1)
    assert (InvalidInput, "invalid_field", "reserved_at") == refusal(result)
    assert ((0, 0), []) == (await caller.spent_and_held(), await caller.event_types())


async def test_a_reserve_beyond_the_retention_is_too_old(caller: Caller) -> None:
    """It is kept as unattributed; exactly 48 hours are still within."""
    result = await caller.try_settle("lost", 3, reserved_at_ms=NOON_MS - RETENTION_MS - 1)
    assert (HoldTooOld, "hold_too_old", "reserved_at") == refusal(result)
    assert (1, nanos(3)) == await caller.under_test.book.unattributed()
    await caller.settle("other", 3, reserved_at_ms=NOON_MS - RETENTION_MS)


async def test_the_deadline_decides_inside_the_next_check(caller: Caller) -> None:
    """No sweeper is waited for: the hold is charged at its estimate before the check is judged."""
    await caller.reserve(10, ttl_s=60)
    await caller.pass_time(1)
    decision = await caller.check(1)
    assert (Outcome.BLOCK, Reason.LIMIT) == (decision.outcome, decision.reason)
    assert ((nanos(10), 0), ["expired", "blocked"]) == (await caller.spent_and_held(), await caller.event_types())


async def test_a_hold_is_due_at_its_deadline(caller: Caller) -> None:
    """The millisecond of the deadline is past it, the one before is not."""
    await caller.reserve(4, ttl_s=60)
    await caller.under_test.set_time(NOON_MS + 59_999)
    await caller.expire()
    assert (0, nanos(4)) == await caller.spent_and_held()
    await caller.under_test.set_time(NOON_MS + 60_000)
    await caller.expire()
    assert (nanos(4), 0) == await caller.spent_and_held()


async def test_released_at_expiry_gives_the_hold_back(ledger: LedgerUnderTest) -> None:
    """With the workspace's choice nothing is charged; the call stays counted."""
    caller = Caller(ledger, released_at_expiry(rule()))
    await caller.reserve(10, ttl_s=60)
    await caller.pass_time(1)
    assert (await caller.reserve(10)).allowed
    assert ((0, nanos(10)), 2) == (await caller.spent_and_held(), (await caller.counter()).calls)


async def test_an_expiry_is_tallied_once(caller: Caller) -> None:
    """The sweeper, the next check and the next settle do not expire it again."""
    await caller.reserve(4, request_id="h", ttl_s=60)
    await caller.pass_time(1)
    await caller.expire()
    await caller.expire()
    await caller.check(1)
    await caller.settle("h", 4)
    assert {"expired": 1, "expired_nanos": nanos(4)} == await caller.tally(caller.rule_set.rules[0])


async def test_a_release_after_expiry_corrects_it(caller: Caller) -> None:
    """What the expiry charged is given back, and the call with it."""
    await caller.reserve(4, request_id="h", ttl_s=60)
    await caller.pass_time(1)
    await caller.expire()
    settlement = await caller.release("h")
    assert HoldState.EXPIRED is settlement.state_before
    assert ((0, 0), 0) == (await caller.spent_and_held(), (await caller.counter()).calls)


async def test_an_expiry_keeps_the_policy_of_its_reserve(ledger: LedgerUnderTest) -> None:
    """A later change of the workspace's choice does not touch open holds."""
    caller = Caller(ledger, rules(rule()))
    await caller.reserve(4, ttl_s=60)
    caller.rule_set = released_at_expiry(rule())
    await caller.pass_time(1)
    await caller.check(0)
    assert (nanos(4), 0) == await caller.spent_and_held()


async def test_an_expiry_crosses_thresholds(ledger: LedgerUnderTest) -> None:
    """Charged estimates are spend, so the alert fires, with its own event."""
    watched = rule(action=Action.WARN)
    caller = Caller(ledger, rules(watched))
    await caller.reserve(9, ttl_s=60)
    await caller.pass_time(1)
    await caller.expire()
    assert ["expired", "warned"] == await caller.event_types()
    assert {"expired": 1, "expired_nanos": nanos(9), "warned": 1, "warned_nanos": nanos(9)} == (
        await caller.tally(watched)
    )


async def test_a_call_expires_at_most_64_holds(ledger: LedgerUnderTest) -> None:
    """The earliest come first, the rest stay held until the next call."""
    caller = Caller(ledger, rules())
    await caller.admit(*[caller.admission(Operation.RESERVE, 1, ttl_s=60) for _ in range(MANY_HOLDS)])
    await caller.pass_time(1)
    await caller.check(0)
    assert (nanos(64), nanos(6)) == await caller.spent_and_held()
    await caller.expire()
    assert (nanos(70), 0) == await caller.spent_and_held()


async def test_the_64_are_shared_by_the_users_of_a_call(ledger: LedgerUnderTest) -> None:
    """The bound is on the call, not on each user in it."""
    caller = Caller(ledger, rules())
    for user in ("alice", "bob"):
        await caller.admit(*[caller.admission(Operation.RESERVE, 1, user_id=user, ttl_s=60) for _ in range(40)])
    await caller.pass_time(1)
    sweeps = [Resolution(operation=Operation.EXPIRE, user_id=user) for user in ("alice", "bob")]
    assert [None, None] == await ledger.ledger.resolve(sweeps)
    assert [(nanos(40), 0), (nanos(24), nanos(16))] == [
        await caller.spent_and_held("alice"),
        await caller.spent_and_held("bob"),
    ]


async def test_an_extended_hold_lives_on(caller: Caller) -> None:
    """The deadline is now plus the ttl, not the old one plus the ttl."""
    await caller.reserve(4, request_id="h", ttl_s=100)
    await caller.under_test.set_time(NOON_MS + 50_000)
    settlement = await caller.extend("h", 100)
    assert (NOON_MS + 150_000, HoldState.OPEN) == (settlement.deadline_ms, settlement.state_before)
    await caller.under_test.set_time(NOON_MS + 149_999)
    assert HoldState.OPEN is (await caller.settle("h", 1)).state_before


async def test_a_hold_lives_at_most_a_day(caller: Caller) -> None:
    """However often it is extended, 24 hours after the reserve it ends."""
    await caller.reserve(4, request_id="h", ttl_s=3600)
    for hour in range(1, 48):
        await caller.under_test.set_time(NOON_MS + hour * HOUR_MS // 2)
        settlement = await caller.extend("h", 3600)
    assert NOON_MS + MAX_HOLD_MS == settlement.deadline_ms


async def test_an_expired_hold_cannot_be_extended(caller: Caller) -> None:
    """Past the deadline it is a conflict, whether it was resolved already or not; nothing is written."""
    await caller.reserve(4, request_id="h", ttl_s=60)
    await caller.pass_time(1)
    for _ in range(2):
        refused = refusal(await caller.resolve(Operation.EXTEND, "h", ttl_ms=60_000))
        assert (HoldConflict, "hold_expired", None) == refused
        await caller.expire()
    assert ["expired"] == await caller.event_types()


@pytest.mark.parametrize(("ended_by", "code"), [("settle", "already_settled"), ("release", "already_released")])
async def test_an_ended_hold_cannot_be_extended(caller: Caller, ended_by: str, code: str) -> None:
    """The conflict tells how it ended."""
    await caller.reserve(4, request_id="h")
    await (caller.settle("h", 1) if ended_by == "settle" else caller.release("h"))
    assert (HoldConflict, code, None) == refusal(await caller.resolve(Operation.EXTEND, "h", ttl_ms=60_000))


async def test_settle_touches_only_the_windows_of_the_reserve(caller: Caller) -> None:
    """A hold over midnight, and over the end of a month, belongs to the day it was made."""
    await caller.under_test.set_time(NOON_MS + 11 * HOUR_MS)
    made_ms = caller.under_test.clock()
    await caller.reserve(4, request_id="h", ttl_s=3600 * 2)
    await caller.pass_time(1.5)
    await caller.settle("h", 3)
    days = [await caller.counter(WindowType.DAY, at_ms=at_ms) for at_ms in (made_ms, caller.under_test.clock())]
    months = [await caller.counter(at_ms=at_ms) for at_ms in (made_ms, caller.under_test.clock())]
    assert [nanos(3), 0] == [day.spend_nanos for day in days]
    assert [nanos(3), 0] == [month.spend_nanos for month in months]


async def test_expiry_touches_only_the_windows_of_the_reserve(caller: Caller) -> None:
    """Resolved in the next month's first check, charged in the old month."""
    await caller.reserve(4, ttl_s=60)
    await caller.pass_time(24)
    assert nanos(1) == (await caller.check(1)).budgets[0].spend_nanos
    assert nanos(4) == (await caller.counter(at_ms=NOON_MS)).spend_nanos


async def test_a_hold_outlives_its_rule(caller: Caller) -> None:
    """A rule that is deleted or lowered under an open hold changes nothing for it."""
    decision = await caller.reserve(4, request_id="h")
    caller.rule_set = rules(rule(limit_usd=0), revision=2)
    settlement = await caller.settle("h", 4)
    assert decision.budgets[0].terms == settlement.budgets[0].terms
    assert (1, (nanos(4), 0)) == (settlement.rules_revision, await caller.spent_and_held())


async def test_a_settle_that_reaches_a_threshold_warns(ledger: LedgerUnderTest) -> None:
    """The alert fires at the settle, once, with the actual as amount."""
    watched = rule()
    caller = Caller(ledger, rules(watched))
    await caller.reserve(9, request_id="h")
    settlement = await caller.settle("h", 8)
    assert (Outcome.WARN, Reason.THRESHOLD, 0) == (settlement.outcome, settlement.reason, settlement.decider)
    assert Warning(WarningKind.THRESHOLD, 80, first=True) == settlement.budgets[0].warning
    assert {"warned": 1, "warned_nanos": nanos(8)} == await caller.tally(watched)


async def test_a_settle_past_the_limit_is_no_block(ledger: LedgerUnderTest) -> None:
    """It answers allow or warn; the limit refuses the next call."""
    caller = Caller(ledger, rules(rule()))
    await caller.reserve(9, request_id="h")
    await caller.check(1)
    await caller.settle("h", 20)
    settlement = await caller.settle("h", 20)
    assert Outcome.WARN is settlement.outcome


async def test_a_settle_without_any_rule_has_no_reason_to_warn(ledger: LedgerUnderTest) -> None:
    """The reason is that of the hold's rules."""
    caller = Caller(ledger, rules())
    await caller.reserve(9, request_id="h")
    settlement = await caller.settle("h", 8)
    assert (Outcome.ALLOW, Reason.NO_RULE, None) == (settlement.outcome, settlement.reason, settlement.decider)


async def test_an_unpriced_settle_charges_the_estimate(caller: Caller) -> None:
    """What was held stands in for the unknown actual; it is listed."""
    await caller.reserve(4, request_id="h")
    settlement = await caller.settle("h", None, model="new-model")
    assert (True, nanos(4)) == (settlement.unpriced, settlement.charged_nanos)
    (event,) = await caller.under_test.book.events()
    assert ("unpriced", "new-model") == (event["type"], event["model"])


async def test_a_hold_keeps_its_group_and_takes_the_usage_of_its_settle(caller: Caller) -> None:
    """The reserve says what the call is for, the settle which model answered and by which prices."""
    await caller.reserve(4, request_id="h", group="search", model="asked", price_version="book 1")
    await caller.settle("h", 5, group="other", model="answered", price_version="book 2", output_tokens=7)
    (event,) = await caller.under_test.book.events()
    assert ("overrun", "search", "answered", "book 2") == tuple(
        event[name] for name in ("type", "group", "model", "price_version")
    )


async def test_a_settle_by_amount_keeps_the_model_of_the_reserve(caller: Caller) -> None:
    """The amount is the caller's own, whatever prices made the estimate."""
    await caller.reserve(4, request_id="h", model="asked", price_version="book 1")
    await caller.settle("h", 5)
    (event,) = await caller.under_test.book.events()
    assert ("asked", "") == (event["model"], event["price_version"])


async def test_a_reconstructed_settle_has_its_own_group(caller: Caller) -> None:
    """Nobody knows the hold any more, so what the settle says is all there is."""
    await caller.settle("h", 5, reserved_at_ms=NOON_MS, group="search", model="m", price_version="book 1")
    (event,) = await caller.under_test.book.events()
    assert ("search", "m", "book 1") == (event["group"], event["model"], event["price_version"])


async def test_an_unpriced_settle_charges_what_the_rule_says(ledger: LedgerUnderTest) -> None:
    """With `charge_usd` the rule's amount replaces the estimate."""
    caller = Caller(ledger, rules(rule(on_unpriced=charging(0.5))))
    await caller.reserve(4, request_id="h")
    assert nanos(0.5) == (await caller.settle("h", None)).charged_nanos
    assert (nanos(0.5), 0) == await caller.spent_and_held()


async def test_an_unpriced_settle_is_corrected_once(caller: Caller) -> None:
    """The known amount replaces the stand-in; after that it is final."""
    await caller.reserve(4, request_id="h")
    await caller.settle("h", None)
    settlement = await caller.settle("h", 1)
    assert (HoldState.SETTLED, nanos(1), False) == (
        settlement.state_before,
        settlement.charged_nanos,
        settlement.unpriced,
    )
    assert (HoldConflict, "already_settled", None) == refusal(await caller.try_settle("h", 2))
    assert (HoldConflict, "already_settled", None) == refusal(await caller.try_settle("h", None))
    assert (nanos(1), 0) == await caller.spent_and_held()


async def test_a_repeated_unpriced_settle_is_a_replay(caller: Caller) -> None:
    """The same usage again changes nothing and logs nothing."""
    await caller.reserve(4, request_id="h")
    await caller.settle("h", None)
    again = await caller.settle("h", None)
    assert (True, True, ["unpriced"]) == (again.replayed, again.unpriced, await caller.event_types())


async def test_an_unknown_unpriced_settle_charges_only_what_a_rule_says(ledger: LedgerUnderTest) -> None:
    """There is no estimate to stand in: zero without a rule's charge; correctable once."""
    caller = Caller(ledger, rules(rule()))
    assert 0 == (await caller.settle("lost", None, reserved_at_ms=NOON_MS)).charged_nanos
    assert nanos(2) == (await caller.settle("lost", 2)).charged_nanos
    assert (nanos(2), 0) == await caller.spent_and_held()
    assert ["reconstructed", "unpriced"] == await caller.event_types()


async def test_a_repeated_check_is_charged_once(caller: Caller) -> None:
    """A lost reply and its retry are one charge, with the first answer."""
    first = await caller.check(4, request_id="r")
    await caller.check(1)
    await caller.pass_time(1)
    again = await caller.check(4, request_id="r")
    assert (True, first.at_ms, first.budgets) == (again.replayed, again.at_ms, again.budgets)
    assert (nanos(5), 0) == await caller.spent_and_held()


async def test_a_replay_needs_neither_time_nor_room(caller: Caller) -> None:
    """An answer that exists is given, past the deadline of the call and past the limit."""
    await caller.check(10, request_id="r")
    assert (await caller.check(10, request_id="r", not_after_ms=0)).replayed


async def test_a_replay_answers_the_rules_of_the_first_answer(caller: Caller) -> None:
    """Terms and revision are those the call was decided by."""
    await caller.check(4, request_id="r")
    caller.rule_set = rules(rule(limit_usd=1), template("pro", 1), revision=2)
    again = await caller.check(4, request_id="r")
    assert (1, nanos(10)) == (again.rules_revision, again.budgets[0].terms.limit_nanos)


@pytest.mark.parametrize(
    ("usd", "changes", "field"),
    [(5, {}, "amount"), (4, {"tier": "pro"}, "tier"), (4, {"ttl_s": 30}, "ttl_s")],
)
async def test_the_same_id_with_another_body_is_a_mismatch(
    caller: Caller, usd: float, changes: dict[str, object], field: str
) -> None:
    """The first difference is named and nothing happens."""
    await caller.reserve(4, request_id="h")
    result = await caller.try_reserve(usd, request_id="h", **changes)
    assert (RequestMismatch, "request_mismatch", field) == refusal(result)
    assert (0, nanos(4)) == await caller.spent_and_held()


async def test_a_check_with_a_reserves_id_is_a_mismatch(caller: Caller) -> None:
    """The operation is compared first."""
    await caller.reserve(4, request_id="h")
    result = await caller.try_check(4, request_id="h")
    assert (RequestMismatch, "request_mismatch", "operation") == refusal(result)


async def test_ids_of_different_users_do_not_meet(caller: Caller) -> None:
    """The key is user and id together."""
    await caller.check(4, request_id="r")
    assert not (await caller.check(4, request_id="r", user_id="bob")).replayed


async def test_a_refused_id_is_decided_anew(caller: Caller) -> None:
    """A refusal is not kept; each attempt has its event."""
    await caller.check(4)
    await caller.check(7, request_id="r")
    caller.rule_set = rules(rule(limit_usd=20, thresholds_pct=()), revision=2)
    decision = await caller.check(7, request_id="r")
    assert (True, False, ["blocked"]) == (decision.allowed, decision.replayed, await caller.event_types())


@pytest.mark.parametrize("state", [HoldState.OPEN, HoldState.SETTLED, HoldState.RELEASED, HoldState.EXPIRED])
async def test_a_replayed_reserve_tells_the_state_of_its_hold(caller: Caller, state: HoldState) -> None:
    """The numbers are the first answer's, the state is today's; a due hold counts as expired."""
    await caller.reserve(4, request_id="h")
    if state is HoldState.SETTLED:
        await caller.settle("h", 1)
    elif state is HoldState.RELEASED:
        await caller.release("h")
    elif state is HoldState.EXPIRED:
        await caller.pass_time(1)
    again = await caller.reserve(4, request_id="h")
    assert (True, state) == (again.replayed, again.hold_state)


async def test_a_replay_resolves_nothing(caller: Caller) -> None:
    """A repeated id leaves the user's due holds for the next decision."""
    await caller.reserve(4, request_id="h")
    await caller.pass_time(1)
    await caller.reserve(4, request_id="h")
    assert ((0, nanos(4)), []) == (await caller.spent_and_held(), await caller.event_types())


async def test_a_repeat_within_one_list_is_a_replay(caller: Caller) -> None:
    """Two of the same id in one call are one charge."""
    twice = [caller.admission(Operation.CHECK, 4, request_id="r") for _ in range(2)]
    results = await caller.admit(*twice)
    assert [False, True] == [getattr(result, "replayed", None) for result in results]
    assert (nanos(4), 0) == await caller.spent_and_held()


async def test_users_with_due_holds_are_listed(ledger: LedgerUnderTest) -> None:
    """The longest overdue comes first; those that were swept are gone, those not due are not there."""
    caller = Caller(ledger, rules())
    for user, ttl_s in (("carol", 30), ("alice", 60), ("bob", 45), ("dave", 7200)):
        await caller.reserve(1, user_id=user, ttl_s=ttl_s)
    await caller.pass_time(1)
    assert ["carol", "bob", "alice"] == await ledger.ledger.due_users(0, 10)
    assert ["carol", "bob"] == await ledger.ledger.due_users(0, 2)
    await caller.expire("bob")
    assert ["carol", "alice"] == await ledger.ledger.due_users(0, 10)


async def test_the_ledger_tells_its_time(ledger: LedgerUnderTest) -> None:
    """The store's clock, not the sidecar's, is asked."""
    assert NOON_MS == await ledger.ledger.store_time_ms()
