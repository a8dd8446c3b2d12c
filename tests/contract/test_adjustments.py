"""Adjustments: an operator's credits and corrections, once each, on every counter or on none."""

import pytest

from ledger.adjustments import Adjusted, AdjustedWindow, adjustment_sent
from ledger.decisions import Operation, Outcome, StalePlan
from ledger.errors import CounterOverflow, CreditExceedsSpend, HoldConflict, InvalidInput, LedgerError, RequestMismatch
from ledger.money import CAP_USD
from ledger.rules import Action
from ledger.windows import Calendar, WindowType
from tests.support.ledger_under_test import HOUR_MS, NOON_MS, Caller, LedgerUnderTest, nanos, rule, rules, template

DAY_MS = 24 * HOUR_MS


@pytest.fixture
def caller(ledger: LedgerUnderTest) -> Caller:
    """A caller of each ledger in turn: free users may spend 10 USD a month, alice 10 a day."""
    return Caller(ledger, rules(template("free", 10), rule("alice", 10, window=WindowType.DAY)))


async def spends(caller: Caller, user_id: str = "alice") -> list[int]:
    """Return a user's spend by day, week and month."""
    return [(await caller.counter(window, user_id)).spend_nanos for window in WindowType]


async def totals(caller: Caller, tier: str) -> set[int]:
    """Return a tier's spend in its windows."""
    book, plan = caller.under_test.book, caller.plan("bob", tier)
    rows = [row for row in plan.tier_windows if row.tier == tier]
    return {(await book.tier_total(row.window, row.tier)).spend_nanos for row in rows}


async def test_a_credit_is_taken_from_every_window(caller: Caller) -> None:
    """Day, week and month, and the answer tells where they stand; it is no call."""
    await caller.check(5)
    adjusted = await caller.adjust(-2)
    plan = caller.plan()

    assert [nanos(3)] * 3 == await spends(caller)
    assert tuple(AdjustedWindow(entry.window, nanos(3), 0, 1) for entry in plan.counters) == adjusted.windows
    assert (nanos(-2), NOON_MS, False) == (adjusted.amount_nanos, adjusted.stored_ms, adjusted.replayed)


async def test_a_correction_adds_to_users_who_never_spent(caller: Caller) -> None:
    """Counters are made as a call would make them."""
    await caller.adjust(4, user_id="new")

    assert [nanos(4)] * 3 == await spends(caller, "new")
    assert 0 == (await caller.counter(user_id="new")).calls


async def test_a_credit_makes_room_at_once(caller: Caller) -> None:
    """The next call that would have been blocked is allowed."""
    await caller.check(10)
    before = await caller.check(1)
    await caller.adjust(-1)
    after = await caller.check(1)

    assert [Outcome.BLOCK, Outcome.ALLOW] == [before.outcome, after.outcome]
    assert [nanos(10)] * 3 == await spends(caller)


async def test_a_correction_may_pass_a_limit(caller: Caller) -> None:
    """It says what was spent; the next call is refused."""
    await caller.adjust(50)

    assert Outcome.BLOCK is (await caller.check(1)).outcome


async def test_an_adjustment_fires_no_threshold_and_the_next_charge_does(caller: Caller) -> None:
    """No call is warned of what an operator did, but the first one after it is."""
    await caller.check(1)
    await caller.adjust(7.5)
    assert ["adjusted"] == await caller.event_types()

    assert Outcome.WARN is (await caller.check(0.1)).outcome


async def test_without_a_tier_no_total_changes(caller: Caller) -> None:
    """Nobody knows under which tier the money was counted."""
    await caller.check(5, user_id="bob", tier="free")
    await caller.check(3, user_id="bob")
    await caller.adjust(-2, user_id="bob")

    assert ({nanos(5)}, {nanos(3)}) == (await totals(caller, "free"), await totals(caller, "*"))


async def test_with_a_tier_its_totals_change(caller: Caller) -> None:
    """In every window of the tier; its calls stay."""
    await caller.check(5, user_id="bob", tier="free")
    await caller.adjust(-2, user_id="bob", tier="free")

    assert {nanos(3)} == await totals(caller, "free")


async def test_a_settle_below_what_was_credited_leaves_a_credit(caller: Caller) -> None:
    """Charged in full at its expiry, credited, then settled late for less: nothing of either is lost; it adds up."""
    held = await caller.reserve(4, user_id="bob", tier="free", ttl_s=60)
    await caller.pass_time(1)
    await caller.expire("bob")
    await caller.adjust(-3, user_id="bob", tier="free")
    await caller.settle(held.request_id, 0.5, user_id="bob", tier="free")
    assert [nanos(-2.5)] * 3 == await spends(caller, "bob")
    assert {nanos(-2.5)} == await totals(caller, "free")

    await caller.check(1, user_id="bob", tier="free")
    assert [nanos(-1.5)] * 3 == await spends(caller, "bob")
    with pytest.raises(CreditExceedsSpend):
        await caller.adjust(-0.1, user_id="bob", tier="free")
    await caller.adjust(0.5, user_id="bob", tier="free")
    assert ([nanos(-1)] * 3, {nanos(-1)}) == (await spends(caller, "bob"), await totals(caller, "free"))
    allowed = [(await caller.check(amount, user_id="bob", tier="free")).outcome for amount in (11, 0.5)]
    assert [Outcome.WARN, Outcome.BLOCK] == allowed


async def test_the_same_id_again_is_the_first_answer(caller: Caller) -> None:
    """Whatever has been spent since, and whatever the note says now."""
    await caller.check(5)
    first = await caller.adjust(-2, request_id="once", meta='{"note":"first"}')
    await caller.check(1)
    again = await caller.adjust(-2, request_id="once", meta='{"note":"second"}')

    assert (first.windows, first.stored_ms, True) == (again.windows, again.stored_ms, again.replayed)
    assert [nanos(4)] * 3 == await spends(caller)


async def test_an_id_is_remembered_for_as_long_as_its_counters(caller: Caller) -> None:
    """A credit that is retried after a week is not given twice."""
    await caller.check(5)
    await caller.adjust(-2, request_id="once")
    await caller.pass_time(7 * 24)

    assert (await caller.adjust(-2, request_id="once")).replayed


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"usd": -3}, "usd"),
        ({"tier": "free"}, "tier"),
        ({"at_ms": NOON_MS}, "at"),
    ],
)
async def test_the_same_id_with_another_body_is_refused(caller: Caller, changes: dict[str, object], field: str) -> None:
    """With the field that differs; nothing changes."""
    await caller.check(5)
    await caller.adjust(-2, request_id="once")
    body = {"usd": -2, "request_id": "once"} | changes
    with pytest.raises(RequestMismatch) as refused:
        await caller.try_adjust(**body)  # type: ignore[arg-type]

    assert field == refused.value.field
    assert [nanos(3)] * 3 == await spends(caller)


async def test_ids_of_calls_and_adjustments_are_one_space(caller: Caller) -> None:
    """A check cannot take an adjustment's id, nor the other way round, and no hold has it."""
    await caller.check(5, request_id="check")
    await caller.adjust(-1, request_id="adjusted")
    with pytest.raises(RequestMismatch) as refused:
        await caller.try_adjust(-1, request_id="check")
    answers = [
        await caller.try_check(1, request_id="adjusted"),
        await caller.try_settle("adjusted", 1),
        await caller.try_settle("adjusted", 1, reserved_at_ms=NOON_MS),
        await caller.resolve(Operation.RELEASE, "adjusted"),
        await caller.resolve(Operation.EXTEND, "adjusted", ttl_ms=1000),
    ]

    assert "operation" == refused.value.field
    assert [RequestMismatch, *[HoldConflict] * 4] == [type(answer) for answer in answers]
    assert ["not_a_hold"] * 4 == [answer.code for answer in answers[1:] if isinstance(answer, LedgerError)]
    assert [nanos(4)] * 3 == await spends(caller)


async def test_a_credit_beyond_the_spend_of_any_window_is_refused(caller: Caller) -> None:
    """Today has less than the month: the error names the day and what is possible there, and nothing changes."""
    await caller.under_test.set_time(NOON_MS - DAY_MS)
    await caller.check(6)
    await caller.under_test.set_time(NOON_MS)
    await caller.check(2)
    with pytest.raises(CreditExceedsSpend) as refused:
        await caller.try_adjust(-3)

    assert "the day from 2026-01-31T00:00:00Z to 2026-02-01T00:00:00Z" in refused.value.message
    assert "at most 2.00" in refused.value.message
    assert [nanos(2), nanos(8), nanos(8)] == await spends(caller)
    assert [] == await caller.event_types()


async def test_a_credit_at_the_day_of_its_spend_is_taken_there(caller: Caller) -> None:
    """`at` chooses the windows: yesterday, this week, this month."""
    await caller.under_test.set_time(NOON_MS - DAY_MS)
    await caller.check(6)
    await caller.under_test.set_time(NOON_MS)
    await caller.check(2)
    await caller.adjust(-3, at_ms=NOON_MS - DAY_MS)
    yesterday = await caller.counter(WindowType.DAY, at_ms=NOON_MS - DAY_MS)

    assert nanos(3) == yesterday.spend_nanos
    assert [nanos(2), nanos(5), nanos(5)] == await spends(caller)


async def test_a_credit_beyond_a_tiers_total_is_refused(caller: Caller) -> None:
    """The money was counted under another tier: the error names the one that was given."""
    await caller.check(5, user_id="bob", tier="pro")
    await caller.check(1, user_id="bob", tier="free")
    with pytest.raises(CreditExceedsSpend) as refused:
        await caller.try_adjust(-2, user_id="bob", tier="free")

    assert "the tier 'free' spent" in refused.value.message
    assert "at most 1.00" in refused.value.message
    assert ({nanos(1)}, [nanos(6)] * 3) == (await totals(caller, "free"), await spends(caller, "bob"))


async def test_held_money_cannot_be_given_back(caller: Caller) -> None:
    """Only what was spent; the hold's own settle or release decides about the rest."""
    await caller.reserve(5)
    with pytest.raises(CreditExceedsSpend):
        await caller.try_adjust(-1)


async def test_a_correction_beyond_the_cap_is_refused(caller: Caller) -> None:
    """Held money counts; exactly the cap is reached."""
    await caller.reserve(1)
    with pytest.raises(CounterOverflow):
        await caller.try_adjust(CAP_USD)
    await caller.adjust(CAP_USD - 1)

    assert [nanos(CAP_USD - 1)] * 3 == await spends(caller)


async def test_a_credit_from_beyond_the_cap_is_possible(caller: Caller) -> None:
    """Settles are never refused; what they made too large can be made smaller."""
    held = await caller.reserve(1)
    await caller.settle(held.request_id, 3 * CAP_USD)
    await caller.adjust(-2 * CAP_USD)

    assert [nanos(CAP_USD)] * 3 == await spends(caller)


@pytest.mark.parametrize(("at_ms", "word"), [(NOON_MS + 1, "future"), (NOON_MS - 35 * DAY_MS - 1, "35 days")])
async def test_a_moment_without_counters_is_refused(caller: Caller, at_ms: int, word: str) -> None:
    """Not yet, or not any more."""
    with pytest.raises(InvalidInput) as refused:
        await caller.try_adjust(1, at_ms=at_ms)

    assert ("at", True) == (refused.value.field, word in refused.value.message)


async def test_the_oldest_moment_that_is_kept_can_be_corrected(caller: Caller) -> None:
    """35 days back, to the millisecond."""
    at_ms = NOON_MS - 35 * DAY_MS
    await caller.adjust(1, at_ms=at_ms)

    assert nanos(1) == (await caller.counter(WindowType.DAY, at_ms=at_ms)).spend_nanos


async def test_a_plan_of_another_time_is_stale(caller: Caller) -> None:
    """Midnight has passed since it was made: plan again."""
    answer = await caller.try_adjust(1, plan=caller.plan(at_ms=NOON_MS - DAY_MS))

    assert StalePlan(NOON_MS) == answer
    assert [0, 0, 0] == await spends(caller)


async def test_a_new_zone_is_seeded_before_it_is_corrected(caller: Caller) -> None:
    """An override in another zone sees the credit as well."""
    await caller.check(5)
    caller.rule_set = rules(rule("alice", 10, calendar=Calendar("Asia/Tokyo"), window=WindowType.MONTH))
    adjusted = await caller.adjust(-2)

    assert {nanos(3)} == {entry.spend_nanos for entry in adjusted.windows}


async def test_an_adjustment_is_one_event_with_its_note(caller: Caller) -> None:
    """Signed amount, the counter afterwards, the fullest rule, and what the operator wrote."""
    await caller.check(5, tier="free")
    adjusted = await caller.adjust(-2, meta='{"actor":"ops","note":"refund"}', tier="free", request_id="once")
    await caller.adjust(-2, meta='{"actor":"ops","note":"again"}', tier="free", request_id="once")
    (event,) = await caller.under_test.book.events()
    (override,) = [entry for entry in caller.rule_set.rules if entry.key == "alice"]

    assert {
        "type": "adjusted",
        "at": str(NOON_MS),
        "user": "alice",
        "request": "once",
        "tier": "free",
        "rule": override.id,
        "window": adjusted.windows[0].window.code,
        "reason": "adjusted",
        "amount": str(nanos(-2)),
        "spend": str(nanos(3)),
        "held": "0",
        "limit": str(nanos(10)),
        "group": "",
        "model": "",
        "price_version": "",
        "meta": '{"actor":"ops","note":"refund"}',
        "outcomes": "",
    } == event


async def test_an_adjustment_needs_no_rule(caller: Caller) -> None:
    """Without one the event has no amounts of one."""
    caller.rule_set = rules()
    await caller.adjust(2)
    (event,) = await caller.under_test.book.events()

    assert ("", "", "") == (event["rule"], event["spend"], event["limit"])


async def test_a_dry_run_counts_no_user_for_an_adjustment(caller: Caller) -> None:
    """Tallies are of decisions."""
    dry = rule("alice", 1, action=Action.DRY_RUN)
    caller.rule_set = rules(dry)
    await caller.adjust(5)

    assert {} == await caller.tally(dry)


async def test_the_sent_text_tells_every_field_apart() -> None:
    """No two bodies share a text."""
    bodies = [(tier, amount, at_ms) for tier in (None, "1") for amount in (1, -1, 11) for at_ms in (None, 1, 11)]

    assert len(bodies) == len({adjustment_sent(*body) for body in bodies})


@pytest.mark.parametrize("comes_first", ["the credit", "the charges"])
async def test_what_was_lost_is_done_again_in_any_order(caller: Caller, comes_first: str) -> None:
    """A credit may come back before the charges that it takes from; its windows are those of then."""
    credit = caller.adjustment(-4, request_id="credit", at_ms=NOON_MS - HOUR_MS, done_ms=NOON_MS - 1, tier="free")
    if comes_first == "the credit":
        await caller.under_test.ledger.adjust(credit)
    for _ in range(3):
        await caller.check(2, tier="free")
    again = await caller.under_test.ledger.adjust(credit)

    assert ([nanos(2)] * 3, {nanos(2)}) == (await spends(caller), await totals(caller, "free"))
    assert isinstance(again, Adjusted)
    assert (comes_first == "the credit", NOON_MS - 1) == (again.replayed, again.stored_ms)


async def test_what_is_done_again_is_told_with_the_time_of_then(caller: Caller) -> None:
    """The log lost its event as well."""
    await caller.under_test.ledger.adjust(caller.adjustment(3, at_ms=NOON_MS - 1, done_ms=NOON_MS - 1))
    (event,) = await caller.under_test.book.events()

    assert ("adjusted", str(NOON_MS - 1)) == (event["type"], event["at"])
