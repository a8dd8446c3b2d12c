"""Erasure of one user over real stores: the name is gone, and all sums stay true, wherever it is cut off."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from ledger.counter_text import parse_counter
from ledger.decisions import Operation, Reason, Settlement
from ledger.errors import StoreUnavailable
from ledger.operations import sent_text
from ledger.plans import compile_plan
from ledger.restores import Restore, Restored, RestoreKind
from ledger.user_data import UserReader
from ledger.user_erasure import CallsGoOn, OpenHolds, UserEraser
from ledger.user_export import export_document
from ledger.windows import Calendar
from tests.support.ledger_under_test import nanos, rules, template
from tests.support.user_house import OTHERS, RULES, USER, WHY, House, open_house, settle


@pytest.fixture
async def house(store_url: str) -> AsyncIterator[House]:
    """An empty workspace of three partitions."""
    async with open_house(store_url) as house:
        yield house


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
    stream = house.reader.partition(USER).events
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
    await house.ledger.resolve([settle(USER, "held", 1)])
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
    (settled,) = await house.ledger.resolve([settle(USER, "held", 1)])
    assert isinstance(settled, Settlement)
    assert [] == await house.differences()


def _between_runs(eraser: UserEraser, act: Callable[[int], Awaitable[None]]) -> None:
    """Have something done before each run of an eraser's program; it is told how many there were."""
    runs, run = 0, eraser._script.run

    async def run_after(*words: Any) -> Any:
        nonlocal runs
        runs += 1
        await act(runs - 1)
        return await run(*words)

    eraser._script.run = run_after  # type: ignore[method-assign]


async def _cut_off_erasure(house: House, after: int) -> None:
    """Erase the user one record a run, and be cut off after some of the runs."""
    eraser = house.eraser

    async def cut_off(runs: int) -> None:
        if runs >= after:
            raise RedisConnectionError("cut off")

    _between_runs(eraser, cut_off)
    with pytest.raises(StoreUnavailable, match="did not rename"):
        await eraser.erase(USER, **WHY)


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each record is a run of its own, so that four runs erase what `House.spend` makes: the last has the counters."""
    monkeypatch.setattr("ledger.user_erasure.RECORDS_AT_ONCE", 1)


async def _assert_erased(house: House, usd: float) -> None:
    """Nothing has the user's name, one has all that was spent, in each window, and the audit agrees."""
    everything = await house.everything()
    assert USER not in repr({key: value for key, value in everything.items() if not key.endswith(":meta")})
    assert [] == await house.differences()
    names = {key.rpartition("erased-")[2] for key in everything if "erased-" in key}
    assert len(names) == 1
    spends = {key: parse_counter(value).spend_nanos for key, value in everything.items() if ":counter:" in key}
    assert {nanos(usd)} == set(spends.values())
    totals = {key: parse_counter(value).spend_nanos for key, value in everything.items() if ":tier:" in key}
    assert {nanos(usd)} == set(totals.values())


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("after", range(4))
async def test_an_erasure_that_was_cut_off_is_finished(house: House, after: int) -> None:
    """By a repeat, under the same name, so that counters and records still add up."""
    await house.spend(USER)
    await _cut_off_erasure(house, after)
    await house.eraser.erase(USER, **WHY)
    await _assert_erased(house, 9)


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("after", range(4))
async def test_calls_between_an_erasure_that_was_cut_off_and_its_repeat_keep_their_sums(
    house: House, after: int
) -> None:
    """What was spent before and in between adds up, however often; one name has it all."""
    await house.spend(USER)
    await _cut_off_erasure(house, after)
    await house.spend(USER, usd=11, tag="-2")
    await _cut_off_erasure(house, after)
    await house.spend(USER, usd=2, tag="-3")
    await house.eraser.erase(USER, **WHY)
    await _assert_erased(house, 9 + 17 + 8)


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("after", range(4))
async def test_a_limit_holds_until_the_erasure_is_finished(house: House, after: int) -> None:
    """Counters are the last that get another name; catches a user who has the whole limit anew halfway."""
    await house.spend(USER)
    await _cut_off_erasure(house, after)
    usage = {window["spend_usd"] for window in export_document(await house.reader.read(USER))["windows"]}
    assert {"9.00"} == usage


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("after", range(3))
async def test_a_late_settle_in_between_corrects_the_counters(house: House, after: int) -> None:
    """Of a hold that was charged at its deadline; catches a correction of counters that have another name already."""
    await house.expire("late", 5)
    await _cut_off_erasure(house, after)
    (answer,) = await house.ledger.resolve([settle(USER, "late", 2)])
    await house.eraser.erase(USER, **WHY)
    await _assert_erased(house, 3 if isinstance(answer, Settlement) else 6)


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("after", range(2))
async def test_zones_are_not_counted_twice(house: House, after: int) -> None:
    """All counters get the new name in one run; catches a zone that starts from what is renamed already."""
    tokyo = rules(template("pro", 100, calendar=Calendar("Asia/Tokyo")))
    await house.admit(Operation.CHECK, "first", 3, rule_set=tokyo)
    await _cut_off_erasure(house, after)
    await house.admit(Operation.CHECK, "second", 1, rule_set=tokyo)
    await house.eraser.erase(USER, **WHY)
    await _assert_erased(house, 4)


async def test_calls_while_names_are_looked_for_are_erased_too(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a record under the old name whose money went with the counters."""
    await house.spend(USER)
    find, late = UserReader.find, ["-2", "-3"]

    async def find_late(self: UserReader, user_id: str) -> Any:
        found = await find(self, user_id)
        if late:
            await house.spend(USER, tag=late.pop())
        return found

    monkeypatch.setattr(UserReader, "find", find_late)
    await house.eraser.erase(USER, **WHY)
    await _assert_erased(house, 27)


@pytest.mark.usefixtures("one_by_one")
async def test_calls_between_all_runs_are_erased_too(house: House) -> None:
    """One before each of the first six runs, the last of which has the counters."""
    await house.spend(USER)
    eraser = house.eraser

    async def call(runs: int) -> None:
        if runs < 6:
            await house.admit(Operation.CHECK, f"between-{runs}", 1)

    _between_runs(eraser, call)
    await eraser.erase(USER, **WHY)
    await _assert_erased(house, 9 + 6)


async def test_a_user_whose_calls_go_on_is_told(house: House) -> None:
    """The erasure is not finished then and nothing is lost: once they are stopped a repeat finishes it."""
    await house.spend(USER)
    eraser = house.eraser
    called = 0

    async def call(runs: int) -> None:
        nonlocal called
        called += 1
        await house.admit(Operation.CHECK, f"between-{runs}", 1)

    _between_runs(eraser, call)
    with pytest.raises(CallsGoOn):
        await eraser.erase(USER, **WHY)
    await house.eraser.erase(USER, **WHY)
    await _assert_erased(house, 9 + called)


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("before", range(4))
async def test_a_call_that_is_held_between_runs_is_in_the_way(house: House, before: int) -> None:
    """It stays where it falls due, can be settled, and a repeat has it all; catches a hold that is kept for ever."""
    await house.spend(USER)
    eraser = house.eraser

    async def hold(runs: int) -> None:
        if runs == before:
            await house.admit(Operation.RESERVE, "held", 1)

    _between_runs(eraser, hold)
    with pytest.raises(OpenHolds):
        await eraser.erase(USER, **WHY)
    assert [USER.encode()] == await house.client.zrange(house.reader.partition(USER).due, 0, -1)
    (settled,) = await house.ledger.resolve([settle(USER, "held", 2)])
    assert isinstance(settled, Settlement)
    await house.eraser.erase(USER, **WHY)
    await _assert_erased(house, 11)


async def test_a_call_that_is_held_after_an_erasure_is_swept(house: House) -> None:
    """It begins a new history, and is among the users whose holds fall due."""
    await house.spend(USER)
    await house.eraser.erase(USER, **WHY)
    await house.spend(USER, holds=True)
    assert [USER.encode()] == await house.client.zrange(house.reader.partition(USER).due, 0, -1)
    assert [] == await house.differences()


async def test_a_last_run_whose_answer_is_lost_has_ended_the_erasure(house: House) -> None:
    """A repeat finds what was called since, which gets a name of its own: nothing leads from one to the other."""
    await house.spend(USER)
    eraser = house.eraser
    run = eraser._script.run

    async def lose_last(client: Any, names: list[str], words: list[Any]) -> Any:
        answer = await run(client, names, words)
        if words[2] == "counters":
            raise RedisConnectionError("cut off")
        return answer

    eraser._script.run = lose_last  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await eraser.erase(USER, **WHY)
    await house.spend(USER)
    erasure = await house.eraser.erase(USER, **WHY)
    assert (3, 3) == (erasure.counters, erasure.records)
    assert [] == await house.differences()
    everything = await house.everything()
    assert USER not in repr({key: value for key, value in everything.items() if not key.endswith(":meta")})
    assert 2 == len({key.rpartition("erased-")[2] for key in everything if ":counter:" in key})


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("kind", ["counter", "request"])
@pytest.mark.parametrize("before", range(4))
async def test_keys_that_expire_between_runs_are_no_error(house: House, kind: str, before: int) -> None:
    """What is left gets the new name."""
    await house.spend(USER)
    eraser = house.eraser

    async def expire(runs: int) -> None:
        if runs == before:
            found = await house.reader.find(USER)
            for key in found.counters.values() if kind == "counter" else found.records.values():
                await house.client.pexpireat(key, 1)

    _between_runs(eraser, expire)
    erasure = await eraser.erase(USER, **WHY)
    assert (0 if kind == "counter" else 3, before if kind == "request" else 3) == (erasure.counters, erasure.records)
    everything = await house.everything()
    assert USER not in repr({key: value for key, value in everything.items() if not key.endswith(":meta")})
    assert erasure.counters + erasure.records == sum("erased-" in key for key in everything)


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
async def test_who_has_the_random_name_already_keeps_all_sums(house: House, first: str, later: str, both: str) -> None:
    """Counters add up to the unit, also beyond 2^53, with what was corrected; the expiry stays."""
    keys = house.reader.partition(USER)
    to, fro = keys.request("x", "to"), keys.request("x", "from")
    await house.client.set(to, first, px=50_000)
    await house.client.set(fro, later, px=60_000)
    await house.client.set(keys.erasing(USER), "erased-x")
    names = [keys.erasing(USER), keys.holds(USER), keys.due, keys.events, fro, to]
    words = ["erased-x", USER, "counters", later, "type", "erased"]
    assert [b"done", 1] == await house.eraser._script.run(house.client, names, words)
    assert (both.encode(), None) == (await house.client.get(to), await house.client.get(fro))
    assert 40_000 < await house.client.pttl(to) <= 50_000


async def test_a_user_of_the_random_name_keeps_what_was_spent(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """No such name is ever drawn twice; if it were, or an app called a user so, no sum would be lost."""
    namesake = OTHERS[0]
    await house.spend(USER)
    await house.spend(namesake)
    monkeypatch.setattr(UserEraser, "_random_name", lambda _self, _partition: namesake)
    await house.eraser.erase(USER, **WHY)
    assert {"18.00"} == {
        window["spend_usd"] for window in export_document(await house.reader.read(namesake))["windows"]
    }
    assert [] == await house.differences()


@pytest.mark.usefixtures("one_by_one")
async def test_two_erasures_at_once_do_what_one_does(house: House) -> None:
    """Two operators who press together: one name, one event."""
    await house.spend(USER)
    both = await asyncio.gather(house.eraser.erase(USER, **WHY), house.eraser.erase(USER, **WHY))
    assert (3, 3) == (sum(one.counters for one in both), sum(one.records for one in both))
    await _assert_erased(house, 9)
    assert 1 == len([fields for _, fields in await _log(house) if fields[b"type"] == b"erased"])


@pytest.mark.usefixtures("one_by_one")
@pytest.mark.parametrize("before", range(4))
async def test_an_erasure_that_another_has_finished_touches_nothing_new(house: House, before: int) -> None:
    """One stands still, another finishes, and the user begins anew under the same ids: that is a history of its own."""
    await house.spend(USER)
    eraser = house.eraser

    async def stand_still(runs: int) -> None:
        if runs == before:
            await house.eraser.erase(USER, **WHY)
            await house.spend(USER)

    _between_runs(eraser, stand_still)
    erasure = await eraser.erase(USER, **WHY)
    assert (0, before) == (erasure.counters, erasure.records)
    found = await house.reader.find(USER)
    assert (3, 3) == (len(found.counters), len(found.records))
    assert [] == await house.differences()


async def _log(house: House) -> list[tuple[bytes, dict[bytes, bytes]]]:
    return await house.client.xrange(house.reader.partition(USER).events)


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
    before = await house.everything()
    erasure = await house.eraser.erase("nobody", **WHY)
    assert (0, 0, 0) == (erasure.counters, erasure.records, erasure.events)
    events = {house.reader.partition("nobody").events}
    assert events == {key for key, value in (await house.everything()).items() if before.get(key) != value}


@pytest.mark.parametrize("kind", [RestoreKind.CHECK, RestoreKind.SETTLE])
async def test_a_journal_that_waited_charges_anew_what_was_erased(house: House, kind: RestoreKind) -> None:
    """The store has the call and has never acknowledged it, and its id is gone; sums agree, and a repeat erases it."""
    at_ms = await house.ledger.store_time_ms()
    if kind is RestoreKind.SETTLE:
        await house.expire("landed", 3)
    else:
        await house.admit(Operation.CHECK, "landed", 3)
        await house.admit(Operation.CHECK, "other", 1)
    waiting = Restore(
        kind=kind,
        user_id=USER,
        request_id="landed",
        at_ms=at_ms,
        plan=compile_plan(RULES, USER, "pro", at_ms),
        amount_nanos=nanos(3),
        sent=str(nanos(3)) if kind is RestoreKind.SETTLE else sent_text(Operation.CHECK, "pro", str(nanos(3)), 60_000),
        reserved_at_ms=at_ms if kind is RestoreKind.SETTLE else None,
        reason=Reason.STORE_UNAVAILABLE,
    )
    await house.eraser.erase(USER, **WHY)
    assert [Restored.APPLIED] == await house.ledger.restore([waiting])
    assert [Restored.KNOWN] == await house.ledger.restore([waiting])
    document = export_document(await house.reader.read(USER))
    assert {"3.00"} == {window["spend_usd"] for window in document["windows"]}
    totals = {value.split()[0] for key, value in (await house.everything()).items() if ":tier:" in key}
    assert {str(nanos(3 + 1 + 3)).encode()} == totals
    await house.eraser.erase(USER, **WHY)
    assert not (await house.reader.find(USER)).counters
    assert [] == await house.differences()


async def test_a_loss_brings_the_user_back_and_a_repeat_erases(house: House) -> None:
    """All of the partition is lost and a journal does it again, under the old name and once."""
    at_ms = await house.ledger.store_time_ms()
    await house.admit(Operation.CHECK, "call", 3)
    await house.eraser.erase(USER, **WHY)
    keys = house.reader.partition(USER)
    lost = [key async for key in house.client.scan_iter(match=f"{keys.prefix.replace('{', '[{]')}*")]
    await house.client.delete(*lost)
    again = Restore(
        kind=RestoreKind.CHECK,
        user_id=USER,
        request_id="call",
        at_ms=at_ms,
        plan=compile_plan(RULES, USER, "pro", at_ms),
        amount_nanos=nanos(3),
        sent=sent_text(Operation.CHECK, "pro", str(nanos(3)), 60_000),
        reason=Reason.STORE_UNAVAILABLE,
    )
    assert [Restored.APPLIED] == await house.ledger.restore([again])
    await house.eraser.erase(USER, **WHY)
    await _assert_erased(house, 3)
