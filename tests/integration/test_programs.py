"""How programs run on a real server: as functions, and as scripts where functions may not be used."""

import logging
import time
from collections.abc import AsyncIterator, Iterator

import pytest
import redis.asyncio as redis

from ledger.counter_text import parse_counter
from ledger.decisions import Operation, Outcome, Settlement
from ledger.errors import StoreUnavailable
from ledger.operations import Admission, Resolution, sent_text
from ledger.plans import compile_plan
from ledger.redis_ledger import RedisLedger
from ledger.rules import EMPTY_RULE_SET
from tests.conftest import running_server, valkey_binary
from tests.support.books import new_workspace
from tests.support.ledgers import ClockedRedisLedger
from tests.support.operations import admission_of

NANOS = 1_000_000


@pytest.fixture
def store_url() -> Iterator[str]:
    """Run a store of its own, whose functions and users the tests change."""
    with running_server(valkey_binary()) as url:
        yield url


@pytest.fixture
async def admin(store_url: str) -> AsyncIterator["redis.Redis"]:
    """Return a client that may do everything."""
    async with redis.Redis.from_url(store_url) as client:
        yield client


async def _check(ledger: RedisLedger, number: int) -> Outcome:
    now_ms = await ledger.store_time_ms()
    admission = Admission(
        operation=Operation.CHECK,
        plan=compile_plan(EMPTY_RULE_SET, "alice", "pro", now_ms),
        request_id=f"call-{number}",
        user_id="alice",
        amount_nanos=NANOS,
        sent=sent_text(Operation.CHECK, "pro", str(NANOS), 0),
        not_after_ms=now_ms + 60_000,
    )
    (answer,) = await ledger.admit([admission])
    assert not isinstance(answer, Exception)
    return answer.outcome  # type: ignore[union-attr]


async def _spend(client: "redis.Redis", workspace: str) -> set[int]:
    keys = [key async for key in client.scan_iter(f"sg:{workspace}:*:counter:*")]
    return {parse_counter(await client.get(key)).spend_nanos for key in keys}


async def test_two_versions_share_a_store(admin: "redis.Redis") -> None:
    """A function's name carries its source's hash, so an older sidecar's stays; and the second user loads nothing."""
    workspace = new_workspace()
    first, second = RedisLedger(admin, workspace=workspace), RedisLedger(admin, workspace=workspace)
    other = "#!lua name=spendgate_admit_0\nredis.register_function('spendgate_admit_0', function() return 1 end)"
    await admin.function_load(other)
    assert [Outcome.ALLOW] * 2 == [await _check(first, 1), await _check(second, 2)]
    commands = await admin.info("commandstats")
    assert (2, {2 * NANOS}) == (
        commands["cmdstat_function|load"]["calls"],
        await _spend(admin, workspace),
    )
    assert 1 == await admin.fcall("spendgate_admit_0", 0)


async def test_a_function_that_another_sidecar_has_just_loaded_is_used(admin: "redis.Redis") -> None:
    """Between a lost function and its loading somebody else may have loaded it: no error reaches the caller."""
    workspace = new_workspace()
    ledger = RedisLedger(admin, workspace=workspace)

    class Slow:
        """A client during whose first call another sidecar loads the function."""

        async def execute_command(self, *words: object) -> object:
            if words[0] == "FUNCTION":
                await admin.execute_command(*words)
            return await admin.execute_command(*words)

    slow = RedisLedger(Slow(), workspace=workspace)
    assert [Outcome.ALLOW] * 2 == [await _check(slow, 1), await _check(ledger, 2)]


@pytest.mark.parametrize("forbidden", ["-fcall", "-function|load"])
async def test_a_user_who_may_use_no_functions_runs_scripts(
    store_url: str, admin: "redis.Redis", caplog: pytest.LogCaptureFixture, forbidden: str
) -> None:
    """Managed stores may forbid one or the other: decided all the same, said once."""
    workspace = new_workspace()
    await admin.acl_setuser("app", enabled=True, nopass=True, keys=["*"], commands=["+@all", forbidden])
    async with redis.Redis.from_url(store_url, username="app", password="any") as client:
        ledger = RedisLedger(client, workspace=workspace)
        with caplog.at_level(logging.WARNING, logger="spendgate.store"):
            assert [Outcome.ALLOW] * 3 == [await _check(ledger, number) for number in range(3)]
    assert {3 * NANOS} == await _spend(admin, workspace)
    assert ["WARNING"] == [record.levelname for record in caplog.records]


async def test_a_run_that_failed_leaves_nothing_for_the_next(admin: "redis.Redis") -> None:
    """A function's library outlives its runs; catches memory of a failed run that the next one writes."""
    workspace = new_workspace()
    ledger = RedisLedger(admin, workspace=workspace)
    assert Outcome.ALLOW is await _check(ledger, 1)
    (total,) = [key async for key in admin.scan_iter(f"sg:{workspace}:*:tier:day:*:pro")]
    kept = await admin.dump(total)
    await admin.set(total, "not a total")
    with pytest.raises(Exception, match="refused to run admit"):
        await _check(ledger, 2)
    await admin.restore(total, 0, kept, replace=True)
    assert Outcome.ALLOW is await _check(ledger, 3)
    assert {2 * NANOS} == await _spend(admin, workspace)
    assert 2 * NANOS == parse_counter(await admin.get(total)).spend_nanos


async def test_a_failed_run_of_settles_leaves_nothing_for_the_next(admin: "redis.Redis") -> None:
    """What a run has moved on totals and not written is forgotten: a total counts a settle once."""
    ledger = ClockedRedisLedger(admin, workspace=new_workspace())
    start_ms = int(time.time() * 1000)
    await ledger.set_time(start_ms)
    plan = compile_plan(EMPTY_RULE_SET, "alice", "pro", start_ms)
    await ledger.admit([admission_of(plan, user, f"call-{user}", NANOS) for user in ("alice", "bob")])
    await ledger.set_time(start_ms + 600_001)  # Bob's hold is due, and its counter is broken.
    counter = ledger.keys.counter(plan.counters[0].window, "bob")
    kept = await admin.dump(counter)
    await admin.delete(counter)
    await admin.rpush(counter, "not a counter")
    settle = Resolution(
        operation=Operation.SETTLE,
        user_id="alice",
        request_id="call-alice",
        amount_nanos=7,
        sent=sent_text(Operation.SETTLE, None, "7", 0),
    )
    expire = Resolution(operation=Operation.EXPIRE, user_id="bob")
    with pytest.raises(StoreUnavailable, match="refused to run resolve"):
        await ledger.resolve([settle, expire])
    await admin.restore(counter, 0, kept, replace=True)
    assert isinstance((await ledger.resolve([settle]))[0], Settlement)
    total = parse_counter(await admin.get(ledger.keys.tier(plan.tier_windows[0].window, "pro")))
    # Alice's hold was due as well: expired at its estimate, then settled for 7.
    assert (7, 2) == (total.spend_nanos, total.calls)
