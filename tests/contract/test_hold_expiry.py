"""Holds past their deadline, extended ones, and the windows that a hold is counted in. Every ledger must pass."""

import pytest

from ledger.decisions import (
    MAX_HOLD_MS,
    HoldState,
    Operation,
    Outcome,
    Reason,
)
from ledger.errors import HoldConflict
from ledger.operations import Resolution
from ledger.rules import Action
from ledger.windows import WindowType
from tests.support.ledger_under_test import (
    HOUR_MS,
    NOON_MS,
    Caller,
    LedgerUnderTest,
    nanos,
    refusal,
    released_at_expiry,
    rule,
    rules,
)

MANY_HOLDS = 70


@pytest.fixture
def caller(ledger: LedgerUnderTest) -> Caller:
    """Alice under a block at 10 USD a month, without thresholds."""
    return Caller(ledger, rules(rule(thresholds_pct=())))


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
