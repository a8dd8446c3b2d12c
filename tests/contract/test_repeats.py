"""Idempotency: an id that comes again is answered as before, unless it was refused. Every ledger must pass."""

import pytest

from ledger.decisions import (
    HoldState,
    Operation,
)
from ledger.errors import RequestMismatch
from tests.support.ledger_under_test import (
    Caller,
    LedgerUnderTest,
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
