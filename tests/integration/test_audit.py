"""The audit finds what was tampered with, and nothing else."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
import redis.asyncio

from ledger.adjustments import Adjusted, Adjustment, adjustment_sent
from ledger.audit import audit_store, compare
from ledger.audit_breakdown import compare_breakdown
from ledger.audit_snapshot import read_snapshot
from ledger.counter_text import parse_counter
from ledger.decisions import Decision, Operation, Settlement
from ledger.keys import PartitionKeys
from ledger.operations import Admission, Resolution, sent_text
from ledger.plans import Plan, compile_plan, encode_context, plan_without_user
from ledger.redis_ledger import RedisLedger
from ledger.windows import Calendar
from tests.support.ledger_under_test import nanos, rules, template
from tests.support.operations import admission_of
from tests.support.tampering import tamper

DAY_MS = 24 * 3_600_000


@dataclass
class Audited:
    """A workspace on a real server with some spend, and its keys."""

    client: "redis.asyncio.Redis"
    url: str
    workspace: str
    plan: Plan

    @property
    def keys(self) -> PartitionKeys:
        """The keys of its one partition."""
        return PartitionKeys.of(self.workspace, 0)

    async def differences(self) -> list[str]:
        """Return what the audit finds."""
        return [difference.what for difference in (await audit_store(self.url, self.workspace)).differences]


@pytest.fixture
async def audited(valkey_url: str) -> AsyncIterator[Audited]:
    """Two users with checks, an open hold, a settled and a released one, in two zones."""
    async with redis.asyncio.Redis.from_url(valkey_url) as client:
        workspace = f"audit-{uuid.uuid4().hex[:12]}"
        ledger = RedisLedger(client, workspace=workspace)
        now_ms = await ledger.store_time_ms()
        berlin = Calendar("Europe/Berlin")
        plan = compile_plan(rules(template("pro", 100, calendar=berlin)), "alice", "pro", now_ms)
        operations = [(user, op) for user in ("alice", "bob:1") for op in (Operation.CHECK, *[Operation.RESERVE] * 3)]
        admissions = [
            Admission(
                operation=operation,
                plan=plan,
                request_id=f"r{number}",
                user_id=user,
                amount_nanos=nanos(1.5),
                sent=sent_text(operation, "pro", "1.5", 600_000),
                not_after_ms=now_ms + 60_000,
                ttl_ms=600_000,
            )
            for number, (user, operation) in enumerate(operations)
        ]
        assert all(isinstance(answer, Decision) for answer in await ledger.admit(admissions))
        await ledger.resolve(
            [
                Resolution(operation=Operation.SETTLE, user_id="alice", request_id="r1", amount_nanos=7, sent="7"),
                Resolution(operation=Operation.RELEASE, user_id="alice", request_id="r2"),
            ]
        )
        yield Audited(client, valkey_url, workspace, plan)


async def adjust(audited: Audited, usd: float, tier: str | None = None, *, days_ago: int = 0) -> None:
    """Correct what alice spent."""
    ledger = RedisLedger(audited.client, workspace=audited.workspace)
    at_ms = await ledger.store_time_ms() - days_ago * DAY_MS
    plan = compile_plan(rules(template("pro", 100, calendar=Calendar("Europe/Berlin"))), "alice", tier, at_ms)
    amount = nanos(usd)
    adjustment = Adjustment(
        user_id="alice",
        request_id=uuid.uuid4().hex,
        amount_nanos=amount,
        plan=plan,
        sent=adjustment_sent(tier, amount, at_ms),
        at_ms=at_ms,
    )
    assert isinstance(await ledger.adjust(adjustment), Adjusted)


async def test_adjustments_are_part_of_the_sum(audited: Audited) -> None:
    """Credits and corrections, with and without a tier, of today and of a month ago."""
    await adjust(audited, -0.5)
    await adjust(audited, -0.25, "pro")
    await adjust(audited, 3, "pro", days_ago=30)
    report = await audit_store(audited.url, audited.workspace)

    assert ([], nanos(3 - 0.5 - 0.25 + 3) + 7) == (report.differences, report.charged_nanos)


async def test_a_credit_that_was_not_booked_is_found(audited: Audited) -> None:
    """Money taken from a counter by hand is no adjustment."""
    await adjust(audited, -0.5)
    key = audited.keys.counter(audited.plan.counters[0].window, "alice")
    await tamper(audited.client, key, "spend", -nanos(0.5))

    assert f"user alice, {audited.plan.counters[0].window.code}, spend" in await audited.differences()


async def test_an_adjustment_outlives_the_counters_it_changed(audited: Audited) -> None:
    """Its record is kept longer than a day's counter; what is gone by plan is no difference."""
    await adjust(audited, 3, days_ago=30)
    snapshot = await read_snapshot(audited.client, audited.workspace)
    snapshot.at_ms += 10 * DAY_MS
    oldest_s = snapshot.at_ms // 1000 - 35 * DAY_MS // 1000
    snapshot.records = [record for record in snapshot.records if record.state == "charged" and not record.tier_windows]
    snapshot.counters = {key: counter for key, counter in snapshot.counters.items() if key[0].end_s > oldest_s}
    for key, counter in snapshot.counters.items():
        snapshot.counters[key] = replace(counter, held_nanos=0)

    assert [nanos(3)] == [record.charged_nanos for record in snapshot.records]
    assert [] == list(compare(snapshot))


async def test_a_ledger_that_nobody_touched_is_clean(audited: Audited) -> None:
    """Checks, holds, settles and releases in two zones add up."""
    report = await audit_store(audited.url, audited.workspace)
    assert ([], 4, nanos(6), nanos(3) + 7) == (
        report.differences,
        report.open_holds,
        report.held_nanos,
        report.charged_nanos,
    )


@pytest.mark.parametrize("index", range(6))
async def test_one_nano_too_much_in_any_counter_is_found(audited: Audited, index: int) -> None:
    """Each of the user's six counters is compared with the records, or with its days."""
    window = audited.plan.counters[index].window
    await tamper(audited.client, audited.keys.counter(window, "alice"), "spend", 1)
    assert any(window.code in name or "its days" in name for name in await audited.differences())


async def test_a_leaked_hold_is_found(audited: Audited) -> None:
    """Held money without an open hold."""
    window = audited.plan.counters[0].window
    await tamper(audited.client, audited.keys.counter(window, "alice"), "held", 5)
    assert [f"user alice, {window.code}, held"] == await audited.differences()


async def test_a_lost_record_is_found(audited: Audited) -> None:
    """Spend that no record explains."""
    await audited.client.delete(audited.keys.request("alice", "r0"))
    assert any(name.startswith("user alice, day:") for name in await audited.differences())


async def test_a_wrong_tier_total_is_found(audited: Audited) -> None:
    """Totals follow from the same records."""
    entry = audited.plan.tier_windows[0]
    await tamper(audited.client, audited.keys.tier(entry.window, entry.tier), "spend", -1)
    assert [f"tier pro, {entry.window.code}, spend"] == await audited.differences()


async def test_a_breakdown_that_does_not_follow_from_the_records_is_found(audited: Audited) -> None:
    """A row whose cost was changed by hand differs from the records, and its dimension from the others."""
    day = audited.plan.counters[0].window
    key = audited.keys.breakdown(day)
    stored = (await audited.client.hget(key, "t:pro")).decode()
    calls, *tokens, rest = stored.split(" ")
    await audited.client.hset(key, "t:pro", " ".join([calls, *tokens, str(int(rest) - 1)]))

    assert {f"tier pro, {day.code}, spend", f"{day.code}, spend by tier"} == set(await audited.differences())


async def test_a_lost_breakdown_is_found(audited: Audited) -> None:
    """Every row of every dimension that the records tell of."""
    day = audited.plan.counters[0].window
    await audited.client.delete(audited.keys.breakdown(day))
    rows = ("group (none)", "model (none)", "tier pro")

    assert {f"{row}, {day.code}, spend" for row in rows} == set(await audited.differences())


async def test_direct_charges_are_part_of_the_sum(audited: Audited) -> None:
    """A user's, and one that is nobody's: its tier's totals and the breakdown know of it."""
    ledger = RedisLedger(audited.client, workspace=audited.workspace)
    now_ms = await ledger.store_time_ms()
    rule_set = rules(template("pro", 100, calendar=Calendar("Europe/Berlin")))
    nobodys = plan_without_user(rule_set, "pro", now_ms)
    for user_id, plan in (("alice", audited.plan), ("", nobodys)):
        charge = Resolution(
            operation=Operation.RECORD,
            user_id=user_id,
            request_id="direct",
            amount_nanos=nanos(2),
            sent=sent_text(Operation.RECORD, "pro", "2", 0),
            plan=plan,
            group="search",
            model="m",
        )
        assert isinstance((await ledger.resolve([charge]))[0], Settlement)
    report = await audit_store(audited.url, audited.workspace)

    assert ([], nanos(3 + 2 + 2) + 7) == (report.differences, report.charged_nanos)


async def test_a_hold_that_would_never_expire_is_found(audited: Audited) -> None:
    """An open hold must stand in its user's index."""
    await audited.client.delete(audited.keys.holds("bob:1"))
    names = await audited.differences()
    assert 3 == len(names)
    assert all("missing in the index" in name for name in names)


async def test_a_tiers_total_has_what_its_row_has_also_when_records_are_gone(audited: Audited) -> None:
    """Of an older day only the sums are left to compare."""
    snapshot = await read_snapshot(audited.client, audited.workspace)
    entry = audited.plan.tier_windows[0]
    snapshot.totals[entry.window, entry.tier] -= 1

    assert [f"tier pro, {entry.window.code}, spend in all"] == [
        difference.what for difference in compare_breakdown(snapshot, frozenset())
    ]


async def test_totals_of_windows_that_the_user_is_not_counted_in_are_audited(audited: Audited) -> None:
    """A tier may have totals in a zone where its user has no counters; a settle finds them by its record."""
    context = encode_context(audited.plan.revision, "pro", [])
    plan = replace(audited.plan, counters=audited.plan.counters[:3], budgets=(), context=context)
    reserve = admission_of(plan, "carol", "elsewhere", nanos(2))
    ledger = RedisLedger(audited.client, workspace=audited.workspace)
    assert isinstance((await ledger.admit([reserve]))[0], Decision)
    settle = Resolution(operation=Operation.SETTLE, user_id="carol", request_id="elsewhere", amount_nanos=9, sent="9")
    assert isinstance((await ledger.resolve([settle]))[0], Settlement)
    stored = [await audited.client.get(audited.keys.tier(row.window, row.tier)) for row in plan.tier_windows]

    assert 6 == len(stored)
    assert {2 * nanos(1.5) + 7 + 9} == {parse_counter(text).spend_nanos for text in stored if text}
    assert [] == await audited.differences()
