"""Export and erasure of one user over real stores: all of it, nothing of anybody else, and the sums stay true."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
import redis.asyncio
from redis.exceptions import ConnectionError as RedisConnectionError

from ledger.adjustments import Adjustment, adjustment_sent
from ledger.audit import audit_store
from ledger.connection import claim_partitions
from ledger.decisions import Decision, Operation, Settlement
from ledger.errors import StoreUnavailable
from ledger.keys import PartitionKeys, partition_of
from ledger.operations import Admission, Resolution, sent_text
from ledger.plans import compile_plan
from ledger.redis_ledger import RedisLedger
from ledger.user_data import UserReader
from ledger.user_erasure import OpenHolds, UserEraser
from ledger.user_export import export_document
from tests.support.hostile_names import HOSTILE_NAMES
from tests.support.ledger_under_test import nanos, rules, template

USER = "user:1"
PARTITIONS = 3
WHY = {"actor": "tester", "note": "a request"}


def _neighbour(form: str) -> str:
    """Return a name of a form whose keys lie beside those of `USER`."""
    names = (form.format(number) for number in range(100))
    return next(name for name in names if partition_of(name, PARTITIONS) == partition_of(USER, PARTITIONS))


OTHERS = tuple(_neighbour(form) for form in ("{}user:1", "r:{}:user:1", "{}:user:1", "user:1{}"))


@dataclass
class House:
    """A workspace on a real server."""

    client: "redis.asyncio.Redis"
    url: str
    workspace: str
    ledger: RedisLedger

    @property
    def reader(self) -> UserReader:
        """Reads users."""
        return UserReader(self.client, self.workspace, PARTITIONS)

    @property
    def eraser(self) -> UserEraser:
        """Erases users."""
        return UserEraser(self.client, self.workspace, PARTITIONS)

    async def spend(self, user_id: str, *, usd: float = 3, holds: bool = False, tag: str = "") -> None:
        """Check `usd`, hold and settle 7, be blocked, be credited 1; with `holds` leave a call held.

        Calls have other ids with another `tag`.
        """
        now_ms = await self.ledger.store_time_ms()
        plan = compile_plan(rules(template("pro", 100)), user_id, "pro", now_ms)

        async def admit(operation: Operation, request: str, usd: float) -> Decision:
            (decision,) = await self.ledger.admit(
                [
                    Admission(
                        operation=operation,
                        plan=plan,
                        request_id=request,
                        user_id=user_id,
                        amount_nanos=nanos(usd),
                        sent=sent_text(operation, "pro", str(nanos(usd)), 60_000),
                        not_after_ms=now_ms + 600_000,
                        ttl_ms=60_000,
                        group="search",
                    )
                ]
            )
            assert isinstance(decision, Decision)
            return decision

        await admit(Operation.CHECK, f"r{tag}", usd)
        await admit(Operation.RESERVE, f"r:user:1{tag}", 5)
        await self.ledger.resolve([_settle(user_id, f"r:user:1{tag}", nanos(7))])
        await admit(Operation.CHECK, f"blocked{tag}", 500)
        adjustment = Adjustment(
            user_id=user_id,
            request_id=f"credit{tag}",
            amount_nanos=-nanos(1),
            plan=plan,
            sent=adjustment_sent("pro", -nanos(1), None),
        )
        await self.ledger.adjust(adjustment)
        if holds:
            await admit(Operation.RESERVE, "held", 1)

    async def differences(self) -> list[Any]:
        """Audit."""
        return list((await audit_store(self.url, self.workspace)).differences)

    async def everything(self) -> dict[str, Any]:
        """Return every key of the workspace with what it holds, streams by their entries' fields."""
        found: dict[str, Any] = {}
        async for key in self.client.scan_iter(match=f"sg:{self.workspace}:*"):
            kind = (await self.client.type(key)).decode()
            name = key.decode()
            if kind == "hash":
                found[name] = await self.client.hgetall(key)
            elif kind == "string":
                found[name] = await self.client.get(key)
            elif kind == "stream":
                found[name] = await self.client.xrange(key)
            else:
                found[name] = await self.client.zrange(key, 0, -1, withscores=True)
        return found


def _settle(user_id: str, request: str, amount: int) -> Resolution:
    return Resolution(
        operation=Operation.SETTLE, user_id=user_id, request_id=request, amount_nanos=amount, sent=str(amount)
    )


@pytest.fixture
async def house(store_url: str) -> AsyncIterator[House]:
    """An empty workspace of three partitions."""
    async with redis.asyncio.Redis.from_url(store_url) as client:
        workspace = f"user-{uuid4().hex[:12]}"
        await claim_partitions(client, workspace, PARTITIONS)
        yield House(client, store_url, workspace, RedisLedger(client, workspace=workspace, partitions=PARTITIONS))


async def test_an_export_has_all_of_a_user_and_nothing_of_others(house: House) -> None:
    """Three windows, four requests, the events; names that end alike are other people."""
    await house.spend(USER)
    for user in OTHERS:
        await house.spend(user, usd=2)
    document = export_document(await house.reader.read(USER))
    assert {window["window"]: window["spend_usd"] for window in document["windows"]} == dict.fromkeys(
        ("day", "week", "month"), "9.00"
    )
    charged = {request["request_id"]: request["charged_usd"] for request in document["requests"]}
    assert charged == {"r": "3.00", "r:user:1": "7.00", "credit": "-1.00"}
    assert {"blocked", "overrun", "adjusted"} == {event["type"] for event in document["events"]}


@pytest.mark.parametrize("user", [*HOSTILE_NAMES, "a*", "[a-z]", "a?b", "back\\slash"])
async def test_any_name_is_found_exactly(house: House, user: str) -> None:
    """Patterns of the server's search in a name are text."""
    await house.spend(user)
    await house.spend("ab")
    keys = await house.reader.find(user)
    assert (3, 3) == (len(keys.counters), len(keys.records))
    assert all(key.endswith(f":{user}") for key in (*keys.counters.values(), *keys.records.values()))


async def test_an_erased_user_is_nowhere(house: House) -> None:
    """No key, record, index or event names the user; sums, totals and everybody else stay as they were."""
    user = f"person-{uuid4().hex}"
    for each in (user, *OTHERS):
        await house.spend(each)
    before = await house.everything()
    erasure = await house.eraser.erase(user, **WHY)
    after = await house.everything()
    assert (3, 3, True) == (erasure.counters, erasure.records, erasure.events >= 3)
    assert user not in repr(after)
    assert [] == await house.differences()
    totals = {
        key: value for key, value in before.items() if ":tier:" in key or ":breakdown:" in key or ":tally:" in key
    }
    assert totals.items() <= after.items()
    others = {key: value for key, value in before.items() if key.endswith(tuple(f":{name}" for name in OTHERS))}
    assert len(others) == 6 * len(OTHERS)
    assert others.items() <= after.items()
    spends = sorted(value.split()[0] for key, value in after.items() if ":counter:" in key)
    assert spends == sorted(value.split()[0] for key, value in before.items() if ":counter:" in key)


async def test_renamed_keys_end_when_they_would_have(house: House) -> None:
    """Nothing lives longer or shorter for it."""
    await house.spend(USER)
    keys = await house.reader.find(USER)
    ends = sorted([await house.client.pexpiretime(key) for key in (*keys.counters.values(), *keys.records.values())])
    await house.eraser.erase(USER, **WHY)
    renamed = [key async for key in house.client.scan_iter(match=f"sg:{house.workspace}:*erased-*")]
    assert ends == sorted([await house.client.pexpiretime(key) for key in renamed])


async def test_an_erasure_is_in_the_log(house: House) -> None:
    """With who, why and how much, under the random name."""
    await house.spend(USER)
    await house.eraser.erase(USER, **WHY)
    stream = PartitionKeys.of(house.workspace, partition_of(USER, PARTITIONS)).events
    _, fields = (await house.client.xrange(stream))[-1]
    assert b"erased" == fields[b"type"]
    assert fields[b"user"].startswith(b"erased-")
    assert b"a request" in fields[b"meta"]


async def test_a_user_with_calls_under_way_is_not_erased(house: House) -> None:
    """Nothing was changed; once it is settled there is nothing in the way."""
    await house.spend(USER, holds=True)
    before = await house.everything()
    with pytest.raises(OpenHolds):
        await house.eraser.erase(USER, **WHY)
    assert before == await house.everything()
    await house.ledger.resolve([_settle(USER, "held", nanos(1))])
    await house.eraser.erase(USER, **WHY)
    assert [] == await house.differences()


async def test_a_call_that_is_held_meanwhile_is_in_the_way(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reserve lands after the first look: nothing of the user is renamed, and the call can be settled."""
    await house.spend(USER)
    find = UserReader.find

    async def find_late(self: UserReader, user_id: str) -> Any:
        await house.spend(USER, holds=True)
        return await find(self, user_id)

    monkeypatch.setattr(UserReader, "find", find_late)
    with pytest.raises(OpenHolds):
        await house.eraser.erase(USER, **WHY)
    monkeypatch.undo()
    (settled,) = await house.ledger.resolve([_settle(USER, "held", nanos(1))])
    assert isinstance(settled, Settlement)
    assert [] == await house.differences()


async def test_a_call_that_is_held_after_the_names_are_gone_is_swept(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins a new history, and is among the users whose holds fall due; catches a hold that is kept for ever."""
    await house.spend(USER)
    delete_events = UserEraser._delete_events

    async def delete_late(self: UserEraser, keys: PartitionKeys, user_id: str) -> int:
        await house.spend(USER, holds=True)
        return await delete_events(self, keys, user_id)

    monkeypatch.setattr(UserEraser, "_delete_events", delete_late)
    await house.eraser.erase(USER, **WHY)
    due = await house.client.zrange(house.reader.partition(USER).due, 0, -1)
    assert [USER.encode()] == due
    assert [] == await house.differences()


async def _cut_off_erasure(house: House, after: int) -> None:
    """Erase the user in its runs, and be cut off after some of them."""
    eraser = house.eraser
    runs = 0
    run = eraser._script.run

    async def cut_off(*words: Any) -> Any:
        nonlocal runs
        runs += 1
        if runs > after:
            raise RedisConnectionError("cut off")
        return await run(*words)

    eraser._script.run = cut_off  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable, match="did not rename"):
        await eraser.erase(USER, **WHY)


async def test_an_erasure_that_was_cut_off_is_finished(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a repeat, under the same name, so that counters and records still add up."""
    monkeypatch.setattr("ledger.user_erasure.PAIRS_AT_ONCE", 2)
    await house.spend(USER)
    await _cut_off_erasure(house, 1)
    await house.eraser.erase(USER, **WHY)
    assert USER not in repr({key: value for key, value in (await house.everything()).items() if ":meta" not in key})
    assert [] == await house.differences()
    names = {key.split("erased-")[1] for key in await house.everything() if "erased-" in key}
    assert len(names) == 1


@pytest.mark.parametrize("after", range(5))
async def test_calls_between_an_erasure_that_was_cut_off_and_its_repeat_keep_their_sums(
    house: House, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    """What was spent before and in between adds up; catches new counters renamed over the ones that were first."""
    monkeypatch.setattr("ledger.user_erasure.PAIRS_AT_ONCE", 1)
    await house.spend(USER)
    await _cut_off_erasure(house, after)
    await house.spend(USER, usd=11, tag="-2")
    await _cut_off_erasure(house, after)
    await house.spend(USER, usd=2, tag="-3")
    await house.eraser.erase(USER, **WHY)
    assert USER not in repr({key: value for key, value in (await house.everything()).items() if ":meta" not in key})
    assert [] == await house.differences()


@pytest.mark.parametrize(
    ("first", "later", "both"),
    [
        ("16000000000000001 0 3 UTC", "5 2 1 UTC", "16000000000000006 2 4 UTC"),
        ("5 0 1 UTC", "16000000000000001 0 3 UTC", "16000000000000006 0 4 UTC"),
        ("16000000000000001 0 3 UTC", "23999999999999999 0 3 UTC", "40000000000000000 0 6 UTC"),
        ("-5 0 1 UTC\x1eadjusted\x1d-5", "-7 0 1 UTC\x1eadjusted\x1d-7", "-12 0 2 UTC\x1eadjusted\x1d-12"),
        ("1 0 1 UTC\x1em:rule\x1d80", "2 0 1 UTC\x1em:rule\x1d1100", "3 0 2 UTC\x1em:rule\x1d1100"),
    ],
)
async def test_counters_of_a_later_history_are_added(house: House, first: str, later: str, both: str) -> None:
    """To the unit, also beyond 2^53, with what was corrected; the expiry stays."""
    keys = house.reader.partition(USER)
    to, fro = keys.request("x", "to"), keys.request("x", "from")
    await house.client.set(to, first, px=50_000)
    await house.client.set(fro, later, px=60_000)
    names = [keys.holds(USER), keys.due, fro, to]
    assert 1 == await house.eraser._script.run(house.client, names, ["erased-x", "", ""])
    assert (both.encode(), None) == (await house.client.get(to), await house.client.get(fro))
    assert 40_000 < await house.client.pttl(to) <= 50_000


async def test_two_erasures_at_once_use_one_name(house: House) -> None:
    """Two operators who press together do what one does."""
    await house.spend(USER)
    await asyncio.gather(house.eraser.erase(USER, **WHY), house.eraser.erase(USER, **WHY))
    assert [] == await house.differences()


async def test_an_erased_user_may_begin_anew(house: House) -> None:
    """From zero, with the whole limit."""
    await house.spend(USER)
    await house.eraser.erase(USER, **WHY)
    await house.spend(USER)
    document = export_document(await house.reader.read(USER))
    assert {window["spend_usd"] for window in document["windows"]} == {"9.00"}
    assert [] == await house.differences()


async def test_a_user_who_is_unknown_leaves_nothing(house: House) -> None:
    """But the event that says that somebody asked for it."""
    erasure = await house.eraser.erase("nobody", **WHY)
    assert (0, 0, 0) == (erasure.counters, erasure.records, erasure.events)
