"""Calls that were made without asking: charged once, never refused, in the windows of their time."""

from typing import Any

import pytest

from ledger.breakdown import Dimension, RowKey, Used
from ledger.decisions import HoldState, Operation, Outcome, Reason, StalePlan
from ledger.errors import HoldTooOld, RequestMismatch
from ledger.money import CAP_NANOS, CAP_USD
from ledger.operations import Resolution
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

USAGE = {"group": "search", "model": "m", "price_version": "book 1", "input_tokens": 100, "output_tokens": 7}


@pytest.fixture
def caller(ledger: LedgerUnderTest) -> Caller:
    """A caller whose month is limited to 10 USD, and whose tier has a template."""
    return Caller(ledger, rules(rule(), template("pro")))


async def day_totals(caller: Caller, tier: str) -> tuple[int, int]:
    """Return spend and calls of a tier today."""
    plan = caller.plan("somebody", tier)
    window = next(row.window for row in plan.tier_windows if row.window.type is WindowType.DAY)
    state = await caller.under_test.book.tier_total(window, tier)
    return state.spend_nanos, state.calls


async def test_it_is_charged_on_all_counters_and_totals(caller: Caller) -> None:
    """As a check would be, with its usage in the breakdown."""
    settlement = await caller.record(3, tier="pro", **USAGE)
    assert (Operation.RECORD, Outcome.ALLOW, Reason.UNDER_LIMIT, HoldState.UNKNOWN, nanos(3)) == (
        settlement.operation,
        settlement.outcome,
        settlement.reason,
        settlement.state_before,
        settlement.charged_nanos,
    )
    assert [nanos(3)] * 3 == [(await caller.counter(kind)).spend_nanos for kind in WindowType]
    assert ((nanos(3), 1), 1) == (await day_totals(caller, "pro"), (await caller.counter()).calls)
    rows = await caller.under_test.book.breakdown(caller.plan().counters[0].window)
    expected = Used(calls=1, input_tokens=100, output_tokens=7, cost_nanos=nanos(3))
    assert expected == rows[RowKey.of(Dimension.GROUP, "search")] == rows[RowKey.of(Dimension.MODEL, "m")]


async def test_the_limit_does_not_refuse_it(caller: Caller) -> None:
    """The money is gone; what it used is missing for the next call."""
    await caller.record(25)
    assert (nanos(25), 0) == await caller.spent_and_held()
    assert Outcome.BLOCK is (await caller.check(1)).outcome


async def test_nor_does_the_cap(caller: Caller) -> None:
    """A counter beyond 8,000,000 USD is still exact."""
    await caller.record(CAP_USD)
    await caller.record(1e-9)
    assert CAP_NANOS + 1 == (await caller.counter()).spend_nanos


async def test_it_crosses_thresholds(caller: Caller) -> None:
    """The first charge that reaches one warns, with an event."""
    assert Outcome.WARN is (await caller.record(8, request_id="r", **USAGE)).outcome
    assert Outcome.ALLOW is (await caller.record(1)).outcome
    (event,) = await caller.under_test.book.events()
    assert ("warned", "threshold", "r", "search", "m", "book 1") == tuple(
        event[name] for name in ("type", "reason", "request", "group", "model", "price_version")
    )


async def test_it_is_charged_once(caller: Caller) -> None:
    """The same id again is a replay."""
    first = await caller.record(3, request_id="r")
    again = await caller.record(3, request_id="r")
    assert (False, True, nanos(3)) == (first.replayed, again.replayed, again.charged_nanos)
    assert (nanos(3), 0) == await caller.spent_and_held()


async def test_another_body_under_its_id_is_a_mismatch(caller: Caller) -> None:
    """Nothing is charged, and the field is named."""
    await caller.record(3, request_id="r")
    assert (RequestMismatch, "request_mismatch", "amount") == refusal(await caller.try_record(4, request_id="r"))
    assert (RequestMismatch, "request_mismatch", "operation") == refusal(await caller.try_check(3, request_id="r"))
    assert (nanos(3), 0) == await caller.spent_and_held()


@pytest.mark.parametrize("operation", [Operation.SETTLE, Operation.RELEASE, Operation.EXTEND])
async def test_it_is_no_hold(caller: Caller, operation: Operation) -> None:
    """Its id cannot be settled, released or extended."""
    await caller.record(3, request_id="r")
    assert "not_a_hold" == refusal(await caller.resolve(operation, "r", amount_nanos=1, sent="x"))[1]


async def test_without_a_price_it_costs_what_the_rule_says(ledger: LedgerUnderTest) -> None:
    """Else nothing; it is listed either way."""
    caller = Caller(ledger, rules(rule(on_unpriced=charging(0.5))))
    settlement = await caller.record(None, **USAGE)
    other = await caller.record(None, user_id="bob", **USAGE)
    assert (True, nanos(0.5), 0) == (settlement.unpriced, settlement.charged_nanos, other.charged_nanos)
    assert ["unpriced", "unpriced"] == await caller.event_types()
    rows = await caller.under_test.book.breakdown(caller.plan().counters[0].window)
    used = rows[RowKey.of(Dimension.MODEL, "m")]
    assert (2, nanos(0.5)) == (used.unpriced_calls, used.unpriced_nanos)


async def test_nobodys_call_counts_for_its_tier_group_and_model(caller: Caller) -> None:
    """No user's counter knows of it, and no budget warns."""
    settlement = await caller.record(9, user_id=None, tier="pro", request_id="r", **USAGE)
    assert ((), nanos(9), True) == (
        settlement.budgets,
        settlement.charged_nanos,
        (await caller.record(9, user_id=None, tier="pro", request_id="r", **USAGE)).replayed,
    )
    assert (nanos(9), 1) == await day_totals(caller, "pro")
    assert (0, 0) == await day_totals(caller, "*")
    assert 0 == (await caller.counter(user_id="")).calls
    rows = await caller.under_test.book.breakdown(caller.plan().counters[0].window)
    assert nanos(9) == rows[RowKey.of(Dimension.GROUP, "search")].cost_nanos


async def test_a_plan_of_another_day_is_stale(caller: Caller) -> None:
    """The store's clock owns the windows; the sidecar plans again."""
    answer = await caller.try_record(1, plan=caller.plan(at_ms=NOON_MS - 24 * HOUR_MS))
    assert StalePlan(NOON_MS) == answer
    assert (0, 0) == await caller.spent_and_held()


async def test_one_that_is_told_later_belongs_to_its_own_time(caller: Caller) -> None:
    """What a sidecar kept while the store was away is charged in the windows of when it was made."""
    made_ms = NOON_MS - 24 * HOUR_MS
    await caller.record(3, reserved_at_ms=made_ms)
    assert 0 == (await caller.counter(WindowType.DAY)).spend_nanos
    assert nanos(3) == (await caller.counter(WindowType.DAY, at_ms=made_ms)).spend_nanos


async def test_one_that_is_told_too_late_is_kept_apart(caller: Caller) -> None:
    """After 48 hours nobody can tell a repeat from a first time."""
    answer = await caller.try_record(3, reserved_at_ms=NOON_MS - 49 * HOUR_MS)
    assert HoldTooOld is refusal(answer)[0]
    assert (1, nanos(3)) == await caller.under_test.book.unattributed()
    assert (0, 0) == await caller.spent_and_held()


async def test_a_total_may_be_lessened_by_the_run_that_made_it(ledger: LedgerUnderTest) -> None:
    """A settle without a price that is reconstructed, and its correction, in one list: the total is the correction."""
    caller = Caller(ledger, rules(template("pro", on_unpriced=charging(3))))
    plan = caller.plan("alice", "pro")
    told: dict[str, Any] = {
        "operation": Operation.SETTLE,
        "user_id": "alice",
        "request_id": "h",
        "reserved_at_ms": NOON_MS,
        "plan": plan,
    }
    unpriced = Resolution(**told, amount_nanos=None, sent="usage")
    priced = Resolution(**told, amount_nanos=nanos(1), sent="1")
    await ledger.ledger.resolve([unpriced, priced])
    assert (nanos(1), 1) == await day_totals(caller, "pro")
