"""Counters, totals, tallies and holds as the control plane reads them, against what the ledger did."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
import redis.asyncio

from ledger.connection import StoreTimeouts, connect
from ledger.decisions import CounterState, Decision, Operation
from ledger.errors import StoreUnavailable
from ledger.money import CAP_NANOS
from ledger.operations import Admission, sent_text
from ledger.plans import compile_plan
from ledger.redis_ledger import RedisLedger
from ledger.rules import Action, RuleSet
from ledger.spend_reader import OpenHold, SpendReader
from ledger.windows import Calendar, WindowType, window_at
from tests.support.ledger_under_test import HOUR_MS, NOON_MS, Caller, nanos, rule, rules, template
from tests.support.ledgers import ClockedRedisLedger
from tests.support.redis_under_test import redis_under_test

UTC, TOKYO = Calendar("UTC"), Calendar("Asia/Tokyo")
TODAY = window_at(WindowType.DAY, UTC, NOON_MS / 1000)
MONTH = window_at(WindowType.MONTH, UTC, NOON_MS / 1000)
PARTITIONS = 4


@dataclass(slots=True)
class Reading:
    """A caller of a ledger whose clock tests set, and a reader of the same workspace."""

    caller: Caller
    reader: SpendReader
    client: Any
    workspace: str


@pytest.fixture
async def reading(store_url: str) -> AsyncIterator[Reading]:
    """A fresh ledger of one partition at 2026-01-31 12:00 UTC, with a template for free users."""
    async with redis.asyncio.Redis.from_url(store_url) as client:
        under_test = await redis_under_test(client)
        assert isinstance(under_test.ledger, ClockedRedisLedger)
        workspace = under_test.ledger.workspace
        caller = Caller(under_test, rules(template("free", 10), rule("dry", 1, action=Action.DRY_RUN)))
        yield Reading(caller, SpendReader(client, workspace), client, workspace)


async def test_counters_of_many_users_and_windows_come_in_their_order(reading: Reading) -> None:
    """Zeros where nothing was counted."""
    await reading.caller.check(2, user_id="ann")
    await reading.caller.reserve(3, user_id="bob")
    pairs = [("bob", TODAY), ("nobody", TODAY), ("ann", MONTH), ("ann", TODAY)]

    assert [
        CounterState(0, nanos(3), 1, seeded=False),
        CounterState(0, 0, 0, seeded=False),
        CounterState(nanos(2), 0, 1, seeded=False),
        CounterState(nanos(2), 0, 1, seeded=False),
    ] == await reading.reader.counters(pairs)


async def test_more_counters_than_one_round_trip(reading: Reading) -> None:
    """Whatever the number, each has its own."""
    for number in (0, 499, 500, 1233):
        await reading.caller.check(number + 1, user_id=f"user-{number}")
    states = await reading.reader.counters([(f"user-{number}", TODAY) for number in range(1234)])

    assert {0: nanos(1), 499: nanos(500), 500: nanos(501), 1233: nanos(1234)} == {
        number: state.spend_nanos for number, state in enumerate(states) if state.spend_nanos
    }


@pytest.mark.parametrize("hours", [0, 4, 20, 40])
async def test_planned_counters_are_those_of_the_next_decision(reading: Reading, hours: float) -> None:
    """In a zone that is new, and in one that was counted yesterday: what the ledger itself says."""
    await reading.caller.check(2)
    await reading.caller.reserve(1, ttl_s=3600)
    reading.caller.rule_set = rules(rule("alice", 10, calendar=TOKYO, window=WindowType.DAY))
    if hours:
        await reading.caller.check(1)
    await reading.caller.pass_time(hours)
    plan = reading.caller.plan()
    usage = await reading.caller.under_test.ledger.usage("alice", plan)
    ((*states,), others) = await reading.reader.planned_counters([("alice", plan.counters), ("nobody", plan.counters)])

    assert list(usage.counters) == states
    assert {CounterState(0, 0, 0, seeded=False)} == set(others)


async def test_a_new_zone_is_shown_as_it_would_start(reading: Reading) -> None:
    """Spend and holds of the workspace's day."""
    await reading.caller.check(2)
    await reading.caller.reserve(1)
    reading.caller.rule_set = rules(rule("alice", 10, calendar=TOKYO))
    ((_, _, _, day, *_),) = await reading.reader.planned_counters([("alice", reading.caller.plan().counters)])

    assert CounterState(nanos(3), 0, 2, seeded=True) == day


async def test_tier_totals_are_summed_over_partitions_and_beyond_the_cap(store_url: str) -> None:
    """Each partition keeps a share; the sum may pass what Lua keeps exact."""
    async with redis.asyncio.Redis.from_url(store_url) as client:
        workspace = f"read-{uuid4().hex[:12]}"
        ledger = RedisLedger(client, workspace=workspace, partitions=PARTITIONS)
        reader = SpendReader(client, workspace, PARTITIONS)
        rule_set, now_ms = rules(template("pro", None)), await reader.store_time_ms()
        for number in range(20):
            await spend(ledger, rule_set, f"user-{number}", CAP_NANOS - number, now_ms)
        month = window_at(WindowType.MONTH, UTC, now_ms / 1000)
        totals = await reader.tier_totals([("nobody", month), ("pro", month)])
        seen = await reader.tiers_seen(since_ms=now_ms)

    assert [(0, 0), (20 * CAP_NANOS - 190, 20)] == [(total.spend_nanos, total.calls) for total in totals]
    assert ["pro"] == [entry.tier for entry in seen.tiers]


async def spend(ledger: RedisLedger, rule_set: RuleSet, user_id: str, amount_nanos: int, now_ms: int) -> None:
    """Charge an amount to a user of the tier pro."""
    plan = compile_plan(rule_set, user_id, "pro", now_ms)
    admission = Admission(
        operation=Operation.CHECK,
        plan=plan,
        request_id=uuid4().hex,
        user_id=user_id,
        amount_nanos=amount_nanos,
        sent=sent_text(Operation.CHECK, "pro", str(amount_nanos), 0),
        not_after_ms=now_ms + 60_000,
    )
    (decision,) = await ledger.admit([admission])
    assert isinstance(decision, Decision)


async def test_tiers_that_were_seen_are_listed_latest_first(reading: Reading) -> None:
    """With the end of their latest window; those of past windows only when they are asked for."""
    await reading.caller.check(1, tier="old")
    await reading.caller.pass_time(40 * 24)
    await reading.caller.check(1, tier="new")
    now_ms = reading.caller.under_test.clock()
    recent = await reading.reader.tiers_seen(since_ms=now_ms)
    await reading.caller.check(1, tier="b")
    await reading.caller.check(1, tier="a")
    two = await reading.reader.tiers_seen(since_ms=now_ms, limit=2)

    assert {"new", "*"} == {entry.tier for entry in recent.tiers}
    assert recent.complete
    assert (["new", "b"], False) == ([entry.tier for entry in two.tiers], two.complete)


async def test_spend_by_day_is_the_last_days_with_today_last(reading: Reading) -> None:
    """35 days by default; days without spend are zero."""
    await reading.caller.check(1)
    await reading.caller.pass_time(24)
    await reading.caller.check(2)
    days = await reading.reader.days("alice", UTC, now_ms=NOON_MS + 24 * HOUR_MS)

    assert 35 == len(days)
    assert [0, nanos(1), nanos(2)] == [day.counter.spend_nanos for day in days[-3:]]
    assert [(day.window.end_s, day.window.type) for day in days[:-1]] == [
        (day.window.start_s, WindowType.DAY) for day in days[1:]
    ]
    assert days[-2].window == TODAY


async def test_tallies_are_the_counts_of_each_rule(reading: Reading) -> None:
    """What a dry run would have blocked: calls, amount and users."""
    (dry,) = [entry for entry in reading.caller.rule_set.rules if entry.key == "dry"]
    for _ in range(3):
        await reading.caller.check(1, user_id="dry")
    tallies = await reading.reader.tallies([(dry.id, MONTH), ("no-rule", MONTH)])

    assert [
        {"warned": 1, "warned_nanos": nanos(1), "dry_run": 2, "dry_run_nanos": nanos(2), "dry_run_users": 1},
        {},
    ] == tallies


async def test_open_holds_tell_what_their_records_say(reading: Reading) -> None:
    """The earliest deadline first; holds that ended are gone."""
    await reading.caller.reserve(1, request_id="late", ttl_s=900, tier="free", model="gpt-5")
    await reading.caller.reserve(2, request_id="soon", ttl_s=60)
    await reading.caller.reserve(3, request_id="done")
    await reading.caller.release("done")
    holds = await reading.reader.open_holds("alice")

    assert [
        OpenHold(
            request_id="soon",
            amount_nanos=nanos(2),
            reserved_at_ms=NOON_MS,
            deadline_ms=NOON_MS + 60_000,
            tier="",
            model="",
        ),
        OpenHold(
            request_id="late",
            amount_nanos=nanos(1),
            reserved_at_ms=NOON_MS,
            deadline_ms=NOON_MS + 900_000,
            tier="free",
            model="gpt-5",
        ),
    ] == list(holds.holds)
    assert 2 == holds.count


async def test_open_holds_are_bounded(reading: Reading) -> None:
    """The count tells of the others."""
    for _ in range(4):
        await reading.caller.reserve(1)
    holds = await reading.reader.open_holds("alice", limit=3)

    assert (3, 4) == (len(holds.holds), holds.count)


async def test_a_store_that_is_gone_is_an_error_of_its_own() -> None:
    """No reading shows zeros for a store that does not answer."""
    client = connect("unix:///nowhere/at-all", StoreTimeouts())
    reader = SpendReader(client, "gone")
    readings = (
        reader.store_time_ms,
        lambda: reader.counters([("alice", TODAY)]),
        lambda: reader.planned_counters([("alice", compile_plan(rules(), "alice", None, NOON_MS).counters)]),
        lambda: reader.tier_totals([("free", TODAY)]),
        lambda: reader.tiers_seen(since_ms=0),
        lambda: reader.days("alice", UTC, now_ms=NOON_MS),
        lambda: reader.tallies([("rule", TODAY)]),
        lambda: reader.open_holds("alice"),
    )
    for read in readings:
        with pytest.raises(StoreUnavailable):
            await read()
    await client.aclose()
