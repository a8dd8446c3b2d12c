"""Reserve, settle and release, known and unknown, priced and unpriced. Every ledger must pass."""

import pytest

from ledger.decisions import (
    FUTURE_TOLERANCE_MS,
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
from ledger.windows import WindowType
from tests.support.ledger_under_test import (
    HOUR_MS,
    NOON_MS,
    Caller,
    LedgerUnderTest,
    charging,
    nanos,
    refusal,
    rule,
    rules,
    template,
)


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
