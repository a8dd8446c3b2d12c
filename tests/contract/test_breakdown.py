"""What was used in a day, by group, model and tier: of every way in which money moves."""

import pytest

from ledger.breakdown import MAX_BREAKDOWN_NAMES, NOTHING, Dimension, NameKind, RowKey, Rows, Used
from ledger.decisions import Decision, Operation, Outcome
from ledger.money import CAP_NANOS, CAP_USD
from ledger.windows import WindowType
from tests.support.ledger_under_test import (
    HOUR_MS,
    NOON_MS,
    Caller,
    LedgerUnderTest,
    nanos,
    released_at_expiry,
    rule,
    rules,
)

SEARCH, MODEL = RowKey.of(Dimension.GROUP, "search"), RowKey.of(Dimension.MODEL, "m")
USAGE = {"group": "search", "model": "m", "input_tokens": 100, "output_tokens": 7}
SETTLED = {"model": "m", "input_tokens": 100, "output_tokens": 7}
ONE_CALL = Used(calls=1)


@pytest.fixture
def caller(ledger: LedgerUnderTest) -> Caller:
    """A caller without rules."""
    return Caller(ledger, rules())


async def rows(caller: Caller, *, at_ms: int | None = None) -> Rows:
    """Return today's rows."""
    day = next(entry.window for entry in caller.plan(at_ms=at_ms).counters if entry.window.type is WindowType.DAY)
    return await caller.under_test.book.breakdown(day)


async def of_search(caller: Caller) -> Used:
    """Return what the group has used."""
    return (await rows(caller)).get(SEARCH, NOTHING)


async def test_a_check_counts_under_its_group_model_and_tier(caller: Caller) -> None:
    """Calls, tokens and cost are added up by each of the three."""
    await caller.check(2, **USAGE, tier="pro")
    await caller.check(3, **USAGE | {"group": "chat"}, tier="pro")
    one, other = (
        Used(calls=1, input_tokens=100, output_tokens=7, cost_nanos=nanos(2)),
        Used(calls=1, input_tokens=100, output_tokens=7, cost_nanos=nanos(3)),
    )
    assert {
        SEARCH: one,
        RowKey.of(Dimension.GROUP, "chat"): other,
        MODEL: one + other,
        RowKey.of(Dimension.TIER, "pro"): one + other,
    } == await rows(caller)


async def test_a_batch_is_added_up(caller: Caller) -> None:
    """Calls of one label and of others, of several users, in one run."""
    calls = [
        caller.admission(Operation.CHECK, 1, user_id=f"user-{number}", **USAGE | {"model": f"m{number % 2}"})
        for number in range(5)
    ]
    await caller.admit(*calls, caller.admission(Operation.RESERVE, 9, group="search", model="m0"))
    found = await rows(caller)
    assert (6, nanos(5), 500) == (found[SEARCH].calls, found[SEARCH].cost_nanos, found[SEARCH].input_tokens)
    assert [4, 2] == [found[RowKey.of(Dimension.MODEL, name)].calls for name in ("m0", "m1")]


async def test_calls_without_a_name_have_a_row_of_their_own(caller: Caller) -> None:
    """It is not to be taken for a group that somebody calls (none)."""
    await caller.check(1)
    await caller.check(1, group="(none)")
    found = await rows(caller)
    assert {NameKind.NONE: 1, NameKind.NAMED: 1} == {
        key.kind: used.calls for key, used in found.items() if key.dimension is Dimension.GROUP
    }
    assert 2 == found[RowKey(Dimension.TIER, NameKind.NONE)].calls


async def test_a_refused_call_is_not_counted(ledger: LedgerUnderTest) -> None:
    """It has used nothing, and takes no name's place."""
    caller = Caller(ledger, rules(rule(limit_usd=1)))
    await caller.check(2, **USAGE)
    assert {} == await rows(caller)


async def test_a_replay_is_counted_once(caller: Caller) -> None:
    """The first answer counted it."""
    for _ in range(2):
        await caller.check(1, request_id="r", **USAGE)
    assert 1 == (await of_search(caller)).calls


async def test_a_hold_is_a_call_at_once_and_a_cost_when_it_is_settled(caller: Caller) -> None:
    """Tokens are those of the settle, whatever was estimated."""
    await caller.reserve(5, request_id="h", **USAGE | {"input_tokens": 9999})
    assert ONE_CALL == await of_search(caller)
    await caller.settle("h", 2, **SETTLED)
    assert Used(calls=1, input_tokens=100, output_tokens=7, cost_nanos=nanos(2)) == await of_search(caller)


async def test_a_call_belongs_to_the_model_that_answered(caller: Caller) -> None:
    """A settle that names another model takes the call along."""
    await caller.reserve(5, request_id="h", group="search", model="asked")
    await caller.settle("h", 2, **SETTLED)
    found = await rows(caller)
    assert (NOTHING, 1) == (found[RowKey.of(Dimension.MODEL, "asked")], found[MODEL].calls)


async def test_a_released_hold_is_no_call(caller: Caller) -> None:
    """It never happened; a late settle brings it back."""
    await caller.reserve(5, request_id="h", group="search")
    await caller.release("h")
    assert NOTHING == await of_search(caller)
    await caller.settle("h", 2)
    assert Used(calls=1, cost_nanos=nanos(2)) == await of_search(caller)


async def test_an_expired_hold_costs_its_estimate_until_it_is_settled(caller: Caller) -> None:
    """The correction replaces it, once."""
    await caller.reserve(5, request_id="h", group="search", ttl_s=60)
    await caller.pass_time(1)
    await caller.expire()
    assert Used(calls=1, cost_nanos=nanos(5)) == await of_search(caller)
    for _ in range(2):
        await caller.settle("h", 2)
    assert Used(calls=1, cost_nanos=nanos(2)) == await of_search(caller)


async def test_a_hold_given_back_at_expiry_costs_nothing(ledger: LedgerUnderTest) -> None:
    """It stays a call, as in the user's counters."""
    caller = Caller(ledger, released_at_expiry(rule()))
    await caller.reserve(5, request_id="h", group="search", ttl_s=60)
    await caller.pass_time(1)
    await caller.expire()
    assert ONE_CALL == await of_search(caller)


async def test_a_settle_counts_in_the_day_of_its_reserve(caller: Caller) -> None:
    """The window of admission owns it."""
    await caller.reserve(5, request_id="h", group="search", ttl_s=3600)
    await caller.pass_time(24)
    await caller.settle("h", 2)
    assert {} == await rows(caller)
    assert nanos(2) == (await rows(caller, at_ms=NOON_MS))[SEARCH].cost_nanos


async def test_a_reconstructed_settle_counts_in_the_day_of_its_reserve(caller: Caller) -> None:
    """As the call that nobody remembers."""
    await caller.settle("h", 2, reserved_at_ms=NOON_MS - 24 * HOUR_MS, group="search", **SETTLED)
    yesterday = await rows(caller, at_ms=NOON_MS - 24 * HOUR_MS)
    assert Used(calls=1, input_tokens=100, output_tokens=7, cost_nanos=nanos(2)) == yesterday[SEARCH]


async def test_calls_without_a_price_are_told_apart(caller: Caller) -> None:
    """How many there were, and what was charged for them."""
    await caller.check(0.5, unpriced=True, **USAGE)
    await caller.check(2, **USAGE)
    used = (await rows(caller))[MODEL]
    assert (2, nanos(2.5), 1, nanos(0.5)) == (
        used.calls,
        used.cost_nanos,
        used.unpriced_calls,
        used.unpriced_nanos,
    )


async def test_a_price_that_comes_later_makes_a_call_priced(caller: Caller) -> None:
    """The correction of a settle without a price takes it off the list."""
    await caller.reserve(4, request_id="h", group="search", unpriced=True)
    await caller.settle("h", None, **SETTLED)
    used = await of_search(caller)
    assert (1, nanos(4), 1, nanos(4)) == (used.calls, used.cost_nanos, used.unpriced_calls, used.unpriced_nanos)
    await caller.settle("h", 3, **SETTLED)
    assert Used(calls=1, input_tokens=100, output_tokens=7, cost_nanos=nanos(3)) == await of_search(caller)


async def test_an_operators_correction_has_rows_of_its_own(caller: Caller) -> None:
    """Nobody knows of which group and model the money was; with a tier the tier's row agrees with its totals."""
    await caller.check(5, **USAGE, tier="pro")
    await caller.adjust(-1, tier="pro")
    await caller.adjust(-2)
    found = await rows(caller)
    assert nanos(-3) == found[RowKey(Dimension.GROUP, NameKind.ADJUSTED)].cost_nanos
    assert nanos(-3) == found[RowKey(Dimension.MODEL, NameKind.ADJUSTED)].cost_nanos
    assert (nanos(4), nanos(-2)) == (
        found[RowKey.of(Dimension.TIER, "pro")].cost_nanos,
        found[RowKey(Dimension.TIER, NameKind.ADJUSTED)].cost_nanos,
    )


async def test_sums_are_exact_beyond_what_a_double_is(caller: Caller) -> None:
    """Three users at the cap and one nano, which is more than 2^53."""
    for user_id in ("ann", "bob", "cyd"):
        await caller.check(CAP_USD, user_id=user_id, group="search")
    await caller.check(1e-9, user_id="dan", group="search")
    batch = [caller.admission(Operation.CHECK, CAP_USD, user_id=f"user-{n}", group="search") for n in range(3)]
    await caller.admit(*batch)
    assert 6 * CAP_NANOS + 1 == (await of_search(caller)).cost_nanos


async def test_names_beyond_the_bound_are_counted_together(caller: Caller) -> None:
    """Those that came first keep their places, also in later runs; nothing is lost."""
    names = [f"group-{number}" for number in range(MAX_BREAKDOWN_NAMES + 3)]
    for start in range(0, len(names), 200):
        batch = names[start : start + 200]
        answers = await caller.admit(*[caller.admission(Operation.CHECK, 1, group=name) for name in batch])
        assert all(isinstance(answer, Decision) and answer.outcome is Outcome.ALLOW for answer in answers)
    await caller.check(1, group=names[-1])
    await caller.check(1, group=names[0])
    await caller.check(1)
    found = {key: used for key, used in (await rows(caller)).items() if key.dimension is Dimension.GROUP}
    assert MAX_BREAKDOWN_NAMES + 2 == len(found)
    assert (4, 2, 1) == (
        found[RowKey(Dimension.GROUP, NameKind.OTHER)].calls,
        found[RowKey.of(Dimension.GROUP, names[0])].calls,
        found[RowKey(Dimension.GROUP, NameKind.NONE)].calls,
    )
    assert len(names) + 3 == sum(used.calls for used in found.values())
