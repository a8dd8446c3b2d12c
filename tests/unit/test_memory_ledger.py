"""The ledger in memory: the hard cases of the contract in one place, and what only its clock can show."""

import pytest

from ledger.decisions import RETENTION_MS, HoldState, Operation, Outcome
from ledger.errors import HoldConflict, HoldNotFound, HoldTooOld, RequestMismatch
from ledger.memory_ledger import MemoryLedger
from ledger.windows import WindowType
from tests.support.ledger_under_test import (
    HOUR_MS,
    NOON_MS,
    Caller,
    LedgerUnderTest,
    memory_under_test,
    nanos,
    refusal,
    released_at_expiry,
    rule,
    rules,
    template,
)


@pytest.fixture
def under_test() -> LedgerUnderTest:
    """A fresh ledger in memory."""
    return memory_under_test()


@pytest.fixture
def caller(under_test: LedgerUnderTest) -> Caller:
    """Alice under a block at 10 USD a month, without thresholds."""
    return Caller(under_test, rules(rule(thresholds_pct=())))


def memory_of(caller: Caller) -> MemoryLedger:
    """Return the ledger itself."""
    assert isinstance(caller.under_test.ledger, MemoryLedger)
    return caller.under_test.ledger


async def test_actual_below_estimate(caller: Caller) -> None:
    """The rest is free at once."""
    await caller.reserve(10, request_id="h")
    await caller.settle("h", 4)
    assert (await caller.reserve(6)).allowed


async def test_actual_above_estimate(caller: Caller) -> None:
    """It is charged in full, past the limit; the next reserve blocks."""
    await caller.reserve(10, request_id="h")
    await caller.settle("h", 11)
    assert ((nanos(11), 0), False) == (await caller.spent_and_held(), (await caller.reserve(0)).allowed)


@pytest.mark.parametrize("end", ["settle", "release"])
async def test_nothing_was_spent(caller: Caller, end: str) -> None:
    """An actual of zero and a release both end the hold."""
    await caller.reserve(10, request_id="h")
    await (caller.settle("h", 0) if end == "settle" else caller.release("h"))
    assert (0, 0) == await caller.spent_and_held()


@pytest.mark.parametrize(("actual", "spent"), [(1, 1), (4, 4), (6, 6)])
async def test_settle_after_expiry(caller: Caller, actual: float, spent: float) -> None:
    """The difference to what the expiry charged is corrected, up or down, exactly once."""
    await caller.reserve(4, request_id="h", ttl_s=1)
    await caller.pass_time(1)
    await caller.expire()
    await caller.settle("h", actual)
    await caller.settle("h", actual)
    assert (nanos(spent), 0) == await caller.spent_and_held()


async def test_settle_after_an_expiry_that_gave_back(under_test: LedgerUnderTest) -> None:
    """What was given back at the deadline is charged by the late settle."""
    caller = Caller(under_test, released_at_expiry(rule()))
    await caller.reserve(4, request_id="h", ttl_s=1)
    await caller.pass_time(1)
    await caller.settle("h", 3)
    assert (nanos(3), 0) == await caller.spent_and_held()


async def test_settle_after_release(caller: Caller) -> None:
    """Accepted, and final."""
    await caller.reserve(4, request_id="h")
    await caller.release("h")
    await caller.settle("h", 3)
    assert (HoldConflict, "already_settled", None) == refusal(await caller.resolve(Operation.RELEASE, "h"))
    assert (nanos(3), 0) == await caller.spent_and_held()


async def test_settle_of_an_unknown_id(caller: Caller) -> None:
    """Charged with its time, unattributed without, too old after 48 hours."""
    assert HoldNotFound is refusal(await caller.try_settle("a", 1))[0]
    too_old = await caller.try_settle("b", 1, reserved_at_ms=NOON_MS - RETENTION_MS - 1)
    assert HoldTooOld is refusal(too_old)[0]
    assert HoldState.UNKNOWN is (await caller.settle("c", 1, reserved_at_ms=NOON_MS)).state_before
    kept = memory_of(caller).unattributed()
    assert (2, nanos(2)) == (kept.count, kept.nanos)


async def test_hold_past_its_deadline(caller: Caller) -> None:
    """The next check of the user resolves it; a later release corrects it; extend is refused."""
    await caller.reserve(10, request_id="h", ttl_s=1)
    await caller.pass_time(1)
    assert (HoldConflict, "hold_expired", None) == refusal(await caller.resolve(Operation.EXTEND, "h", ttl_ms=1000))
    assert Outcome.BLOCK is (await caller.check(1)).outcome
    await caller.release("h")
    assert (await caller.check(1)).allowed


async def test_window_ends_while_a_hold_is_open(caller: Caller) -> None:
    """Release and settle touch the day of the reserve."""
    await caller.under_test.set_time(NOON_MS + 11 * HOUR_MS)
    await caller.reserve(4, request_id="h", ttl_s=3600)
    await caller.pass_time(1.5)
    await caller.settle("h", 4)
    today = await caller.counter(WindowType.DAY)
    yesterday = await caller.counter(WindowType.DAY, at_ms=NOON_MS)
    assert (0, nanos(4)) == (today.spend_nanos, yesterday.spend_nanos)


async def test_limit_lowered_under_an_open_hold(caller: Caller) -> None:
    """The hold stays valid and nothing is clawed back."""
    await caller.reserve(8, request_id="h")
    caller.rule_set = rules(rule(limit_usd=1), revision=2)
    assert nanos(8) == (await caller.settle("h", 8)).charged_nanos


async def test_reply_lost_and_retried(caller: Caller) -> None:
    """One charge, with the first answer."""
    answers = [await caller.check(4, request_id="r") for _ in range(3)]
    assert [False, True, True] == [answer.replayed for answer in answers]
    assert (nanos(4), 0) == await caller.spent_and_held()


async def test_unpriced_usage_at_settle(caller: Caller) -> None:
    """The estimate stands in until the amount is known."""
    await caller.reserve(4, request_id="h")
    charged = [(await caller.settle("h", None)).charged_nanos, (await caller.settle("h", 2)).charged_nanos]
    assert [nanos(4), nanos(2)] == charged


async def test_tier_totals_follow_corrections(under_test: LedgerUnderTest) -> None:
    """Expiry charges the tier, a release gives it back, spend and call."""
    caller = Caller(under_test, rules(template("pro", 100)))
    month = caller.plan().counters[2].window
    await caller.reserve(4, tier="pro", request_id="h", ttl_s=1)
    await caller.pass_time(1)
    await caller.expire()
    ledger = memory_of(caller)
    before = ledger.tier_total(month, "pro")
    await caller.release("h")
    after = ledger.tier_total(month, "pro")
    assert [(nanos(4), 1), (0, 0)] == [(total.spend_nanos, total.calls) for total in (before, after)]


async def test_many_callers_of_one_user(caller: Caller) -> None:
    """Exactly limit by cost equal checks are admitted."""
    results = await caller.admit(*[caller.admission(Operation.CHECK, 0.7) for _ in range(100)])
    assert 14 == sum(getattr(result, "allowed", False) for result in results)


async def test_a_check_is_forgotten_after_48_hours(caller: Caller) -> None:
    """Up to then it is a replay, afterwards the id is new."""
    await caller.check(1, request_id="r")
    await caller.under_test.set_time(NOON_MS + RETENTION_MS)
    assert (await caller.check(1, request_id="r")).replayed
    await caller.under_test.set_time(NOON_MS + RETENTION_MS + 1)
    assert not (await caller.check(1, request_id="r")).replayed


async def test_a_hold_is_forgotten_48_hours_after_its_end(caller: Caller) -> None:
    """The retention starts at the settle, not at the reserve."""
    await caller.reserve(1, request_id="h", ttl_s=3600)
    await caller.pass_time(0.5)
    await caller.settle("h", 1)
    await caller.under_test.set_time(NOON_MS + RETENTION_MS + HOUR_MS // 2)
    assert (await caller.settle("h", 1)).replayed
    await caller.pass_time(1)
    assert HoldNotFound is refusal(await caller.try_settle("h", 1))[0]


async def test_an_open_hold_is_never_forgotten(caller: Caller) -> None:
    """However late, its deadline is resolved and its settle finds it."""
    await caller.reserve(4, request_id="h")
    await caller.pass_time(24 * 20)
    assert HoldState.EXPIRED is (await caller.settle("h", 3)).state_before


async def test_an_unattributed_id_is_counted_again_after_48_hours(caller: Caller) -> None:
    """Its marker is kept as long as any record."""
    await caller.try_settle("lost", 1)
    await caller.under_test.set_time(NOON_MS + RETENTION_MS)
    await caller.try_settle("lost", 1)
    assert 1 == memory_of(caller).unattributed().count
    await caller.pass_time(1)
    await caller.try_settle("lost", 1)
    assert 2 == memory_of(caller).unattributed().count


async def test_a_mismatch_leaves_the_first_answer(caller: Caller) -> None:
    """After a refused second body the first one is still a replay."""
    await caller.check(1, request_id="r")
    assert RequestMismatch is refusal(await caller.try_check(2, request_id="r"))[0]
    assert (await caller.check(1, request_id="r")).replayed


async def test_events_are_read_by_user(caller: Caller) -> None:
    """All, or those of one user."""
    await caller.check(11)
    caller.rule_set = rules(rule("bob", 0))
    await caller.check(1, user_id="bob")
    ledger = memory_of(caller)
    assert (2, ["bob"]) == (len(ledger.events()), [event["user"] for event in ledger.events("bob")])


async def test_there_is_only_partition_0(caller: Caller) -> None:
    """Other partitions have no users."""
    await caller.reserve(1, ttl_s=1)
    await caller.pass_time(1)
    ledger = memory_of(caller)
    assert (["alice"], []) == (await ledger.due_users(0, 10), await ledger.due_users(1, 10))


async def test_a_reserved_at_needs_its_plan(caller: Caller) -> None:
    """To leave it out is a bug of the caller's code, not an answer."""
    with pytest.raises(ValueError, match="needs the plan"):
        await caller.resolve(Operation.SETTLE, "lost", amount_nanos=1, sent="x", reserved_at_ms=NOON_MS)
