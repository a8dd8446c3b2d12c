"""`spendgate audit --repair`: what was tampered with is put right, exactly that, and never under a call in flight."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import redis.asyncio

import ledger.repairs
from ledger.audit import audit_store
from ledger.decisions import Decision, Operation
from ledger.event_log import EventLog
from ledger.keys import PartitionKeys, partition_of
from ledger.operations import Admission, Resolution, sent_text
from ledger.plans import Plan, compile_plan
from ledger.redis_ledger import RedisLedger
from ledger.repairs import Repair, repair_store
from ledger.windows import Calendar
from tests.conftest import server_binaries
from tests.support.ledger_under_test import nanos, rules, template
from tests.support.tampering import tamper

USERS = ("alice", "bob:1", "carol")
BERLIN = Calendar("Europe/Berlin")


@dataclass
class House:
    """A workspace of some partitions with spend and open holds."""

    client: Any
    url: str
    workspace: str
    partitions: int
    plan: Plan
    ledger: RedisLedger

    def keys(self, user_id: str) -> PartitionKeys:
        """The keys of a user's partition."""
        return PartitionKeys.of(self.workspace, partition_of(user_id, self.partitions))

    def counter(self, user_id: str, index: int) -> str:
        """The key of one of a user's counters: day, week and month of the workspace, then the month in Berlin."""
        return self.keys(user_id).counter(self.plan.counters[index].window, user_id)

    async def everything(self) -> dict[bytes, object]:
        """Return all keys but those of time, and what they hold."""
        found: dict[bytes, object] = {}
        async for key in self.client.scan_iter(match=f"sg:{self.workspace}:*"):
            kind = key.decode().split(":")[3:4]
            if kind == ["breakdown"]:
                found[key] = await self.client.hgetall(key)
            elif kind in (["holds"], ["tiers"], ["due"]):
                found[key] = await self.client.zrange(key, 0, -1, withscores=True)
            elif kind in (["request"], ["counter"], ["tier"]):
                found[key] = await self.client.get(key)
        return found

    async def call(self, operation: Operation, user_id: str, request_id: str, usd: float = 1.5) -> None:
        """Check or reserve."""
        admission = Admission(
            operation=operation,
            plan=self.plan,
            request_id=request_id,
            user_id=user_id,
            amount_nanos=nanos(usd),
            sent=sent_text(operation, "pro", str(usd), 600_000),
            not_after_ms=1 << 52,
            ttl_ms=600_000,
        )
        assert all(isinstance(answer, Decision) for answer in await self.ledger.admit([admission]))


@pytest.fixture(params=[(server, partitions) for server in sorted(server_binaries()) for partitions in (1, 4)], ids=str)
async def house(request: pytest.FixtureRequest) -> AsyncIterator[House]:
    """Three users: a check, an open hold, a settled one and a released one each."""
    server, partitions = request.param
    url = request.getfixturevalue(f"{server}_url")
    async with redis.asyncio.Redis.from_url(url) as client:
        workspace = f"repair-{uuid.uuid4().hex[:12]}"
        await client.hset(f"sg:{workspace}:meta", "partitions", partitions)
        ledger = RedisLedger(client, workspace=workspace, partitions=partitions)
        rule_set = rules(template("pro", 100, calendar=BERLIN))
        plan = compile_plan(rule_set, "alice", "pro", await ledger.store_time_ms())
        house = House(client, url, workspace, partitions, plan, ledger)
        for user_id in USERS:
            await house.call(Operation.CHECK, user_id, "check")
            for name in ("open", "settled", "released"):
                await house.call(Operation.RESERVE, user_id, name)
            settle = Resolution(
                operation=Operation.SETTLE, user_id=user_id, request_id="settled", amount_nanos=7, sent="7"
            )
            release = Resolution(operation=Operation.RELEASE, user_id=user_id, request_id="released")
            await ledger.resolve([settle, release])
        assert [] == (await audit_store(url, workspace)).differences
        yield house


async def test_a_ledger_that_is_right_is_left_alone(house: House) -> None:
    """Nothing to put right, nothing written."""
    before = await house.everything()
    report = await repair_store(house.url, house.workspace, apply=True)
    assert ([], [], False) == (report.corrections, report.left, report.is_busy)
    assert before == await house.everything()


async def test_a_dry_run_changes_nothing_and_tells_what_the_repair_does(house: House) -> None:
    """Both list the same lines; only the second one writes."""
    await tamper(house.client, house.counter("bob:1", 0), "spend", 5)
    await tamper(house.client, house.counter("alice", 2), "held", -7)
    before = await house.everything()
    told = await repair_store(house.url, house.workspace, apply=False)
    assert before == await house.everything()
    done = await repair_store(house.url, house.workspace, apply=True)
    lines = sorted(line for correction in told.corrections for line in correction.lines)
    assert lines == sorted(line for correction in done.corrections for line in correction.lines)
    assert 2 == len(lines)
    assert "held: $1.499999993 becomes $1.5" in lines[0]
    assert "spend: $1.500000012 becomes $1.500000007" in lines[1]


@pytest.mark.parametrize("field", ["spend", "held"])
@pytest.mark.parametrize("change", [-3, 3])
async def test_any_figure_that_was_changed_is_what_it_was(house: House, field: str, change: int) -> None:
    """Of each user another counter, and a total: afterwards every key holds what it held before."""
    before = await house.everything()
    for index, user_id in enumerate(USERS):
        await tamper(house.client, house.counter(user_id, index), field, change)
    entry = house.plan.tier_windows[0]
    await tamper(house.client, house.keys("alice").tier(entry.window, entry.tier), "spend", change)
    report = await repair_store(house.url, house.workspace, apply=True)
    # A week or month that has too much, without all its records: one of its days may have lost it.
    assert report.left == [] or (field == "spend" and change > 0)
    assert all("its days" in each.what for each in report.left)
    assert report.left or before == await house.everything()


async def test_lost_counters_and_totals_come_back_from_the_records(house: House) -> None:
    """Spend, holds, calls and the calendar; the day they are in is told by what the window's name says."""
    before = await house.everything()
    for user_id in USERS[:2]:
        await house.client.delete(*(house.counter(user_id, index) for index in range(len(house.plan.counters))))
    entry = house.plan.tier_windows[0]
    await house.client.delete(house.keys("bob:1").tier(entry.window, entry.tier))
    report = await repair_store(house.url, house.workspace, apply=True)
    after = await house.everything()
    assert [] == report.left
    assert report.after is not None
    assert [] == report.after.differences
    for user_id in USERS[:2]:
        key = house.counter(user_id, 0).encode()
        assert before[key] == after[key]
        assert 0 < await house.client.pttl(key)


async def test_a_hold_that_was_lost_from_the_index_expires_again(house: House) -> None:
    """It stands in its user's index and in the partition's, at its own deadline."""
    before = await house.everything()
    for user_id in USERS:
        await house.client.delete(house.keys(user_id).holds(user_id), house.keys(user_id).due)
    report = await repair_store(house.url, house.workspace, apply=True)
    assert 3 == len(report.corrections)
    assert before == await house.everything()


async def test_nothing_is_lowered_where_records_are_missing(house: House) -> None:
    """The counter is right and a record was lost: money that was spent stays counted, and the audit goes on to tell."""
    await house.client.delete(house.keys("alice").request("alice", "check"))
    before = await house.everything()
    report = await repair_store(house.url, house.workspace, apply=True)
    assert [] == report.corrections
    assert any("user alice" in each.what for each in report.left)
    assert before == await house.everything()


async def test_each_correction_is_an_event(house: House) -> None:
    """The log tells who, which window, what was added and what the counter is since."""
    await tamper(house.client, house.counter("alice", 0), "spend", -5)
    await repair_store(house.url, house.workspace, apply=True)
    page = await EventLog(house.client, house.workspace, house.partitions).page(limit=10)
    event = next(each for each in page.events if each.type == "repaired")
    window = house.plan.counters[0].window
    assert ("alice", "spend", 5, window) == (event.user_id, event.reason, event.amount_nanos, event.window)
    assert nanos(1.5) + 7 == event.spend_nanos


async def _come_and_go(house: House) -> None:
    """Leave every figure as it was: only the history of the data tells."""
    await house.call(Operation.RESERVE, "alice", "late")
    await house.ledger.resolve([Resolution(operation=Operation.RELEASE, user_id="alice", request_id="late")])


async def _tamper(house: House) -> None:
    """Change a figure without a trace in the history."""
    await tamper(house.client, house.counter("alice", 0), "spend", 2)


@pytest.mark.parametrize("interfere", [_come_and_go, _tamper])
async def test_what_changes_between_reading_and_writing_stops_the_repair(
    house: House, monkeypatch: pytest.MonkeyPatch, interfere: Callable[[House], Awaitable[None]]
) -> None:
    """The program sees it and writes nothing; the next try reads anew."""
    await tamper(house.client, house.counter("alice", 0), "spend", 5)
    real = Repair._run
    answers: list[Any] = []

    async def run(self: Repair, *arguments: Any) -> Any:
        if not answers:
            await interfere(house)
        answers.append(await real(self, *arguments))
        return answers[-1]

    monkeypatch.setattr(Repair, "_run", run)
    report = await repair_store(house.url, house.workspace, apply=True)
    assert [True, False] == [answer is None for answer in answers]
    assert report.after is not None
    assert [] == report.after.differences


@pytest.mark.parametrize("apply", [True, False])
async def test_a_workspace_that_is_always_written_to_is_left_alone(
    house: House, monkeypatch: pytest.MonkeyPatch, apply: bool
) -> None:
    """A figure in motion is no fault: it is said, and nothing is touched."""
    real = ledger.repairs.read_snapshot

    async def read(*arguments: Any) -> Any:
        snapshot = await real(*arguments)
        await house.call(Operation.CHECK, "carol", uuid.uuid4().hex)
        return snapshot

    monkeypatch.setattr(ledger.repairs, "read_snapshot", read)
    await tamper(house.client, house.counter("alice", 0), "spend", 5)
    report = await repair_store(house.url, house.workspace, apply=apply)
    assert (True, []) == (report.is_busy, report.corrections)
    assert 1 <= len((await audit_store(house.url, house.workspace)).differences)
