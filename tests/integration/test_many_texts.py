"""Batches whose counters and records a real server writes with one command each, and one by one where it may not."""

from collections.abc import AsyncIterator, Iterator

import pytest
import redis.asyncio as redis

from ledger.decisions import Operation, Settlement
from ledger.operations import Resolution, sent_text
from ledger.plans import Plan, compile_plan
from ledger.redis_ledger import RedisLedger
from ledger.rules import EMPTY_RULE_SET
from tests.conftest import running_server, valkey_binary
from tests.support.ledgers import ClockedRedisLedger
from tests.support.operations import admission_of

NANOS = 1_000_000
USERS = [f"user-{number}" for number in range(20)]
SLACK_MS = 30_000
"""How much less than in another run a TTL may be."""


@pytest.fixture
def store_url() -> Iterator[str]:
    """Run a store whose users the tests change, with an append-only file."""
    with running_server(valkey_binary(), "--appendonly", "yes", "--enable-debug-command", "yes") as url:
        yield url


@pytest.fixture
async def admin(store_url: str) -> AsyncIterator["redis.Redis"]:
    """Return a client that may do everything."""
    async with redis.Redis.from_url(store_url) as client:
        yield client


async def _spend(client: "redis.Redis", now_ms: int) -> None:
    """Reserve twice for every user and settle once, each in one batch, at the same time of the store."""
    ledger = ClockedRedisLedger(client, workspace="many")
    await ledger.set_time(now_ms)
    plan = compile_plan(EMPTY_RULE_SET, "user-1", "pro", now_ms)
    for call in ("first", "second"):
        await ledger.admit([admission_of(plan, user, f"{call}-{user}", NANOS) for user in USERS])
    settles = [_settle(user) for user in USERS]
    assert all(isinstance(answer, Settlement) for answer in await ledger.resolve(settles))


def _settle(user_id: str) -> Resolution:
    return Resolution(
        operation=Operation.SETTLE,
        user_id=user_id,
        request_id=f"second-{user_id}",
        amount_nanos=77 * NANOS,
        sent=sent_text(Operation.SETTLE, None, str(77 * NANOS), 0),
    )


async def _strings(client: "redis.Redis") -> dict[bytes, tuple[bytes, int]]:
    """Return every string of the store with its TTL in ms."""
    found: dict[bytes, tuple[bytes, int]] = {}
    async for key in client.scan_iter("sg:*", _type="string"):
        text = await client.get(key)
        assert isinstance(text, bytes)
        found[key] = (text, await client.pttl(key))
    return found


async def _commands(client: "redis.Redis") -> set[str]:
    return {name.removeprefix("cmdstat_") for name in await client.info("commandstats")}


def _assert_alike(found: dict[bytes, tuple[bytes, int]], expected: dict[bytes, tuple[bytes, int]]) -> None:
    assert {key: text for key, (text, _) in expected.items()} == {key: text for key, (text, _) in found.items()}
    assert [] == [key for key, (_, ttl) in found.items() if ttl <= 0 or abs(ttl - expected[key][1]) > SLACK_MS]


async def test_a_user_who_may_not_write_many_at_once_writes_the_same(store_url: str, admin: "redis.Redis") -> None:
    """Texts and expiries are the same, whether MSETEX writes them or each is written by itself."""
    now_ms = await RedisLedger(admin, workspace="clock").store_time_ms()
    await _spend(admin, now_ms)
    at_once, commands = await _strings(admin), await _commands(admin)
    assert "msetex" in commands
    await admin.flushall()
    await admin.function_flush()
    await admin.config_resetstat()
    await admin.acl_setuser("app", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-msetex"])
    async with redis.Redis.from_url(store_url, username="app", password="any") as client:
        await _spend(client, now_ms)
    assert {"set", "setrange"} <= await _commands(admin)
    _assert_alike(await _strings(admin), at_once)


async def test_the_append_only_file_has_what_was_written_at_once(admin: "redis.Redis") -> None:
    """A store that starts again from its file has the same texts, with their expiries."""
    await _spend(admin, await RedisLedger(admin, workspace="clock").store_time_ms())
    before = await _strings(admin)
    await admin.execute_command("DEBUG", "LOADAOF")  # type: ignore[no-untyped-call]
    _assert_alike(await _strings(admin), before)


async def test_a_batch_larger_than_one_command_is_written_whole(admin: "redis.Redis") -> None:
    """More counters and records than one command takes."""
    now_ms = await RedisLedger(admin, workspace="clock").store_time_ms()
    ledger = RedisLedger(admin, workspace="large")
    plan: Plan = compile_plan(EMPTY_RULE_SET, "user-1", "pro", now_ms)
    users = [f"user-{number}" for number in range(2500)]
    for call in ("first", "second"):
        await ledger.admit([admission_of(plan, user, f"{call}-{user}", NANOS) for user in users])
    texts = [text for key, (text, _) in (await _strings(admin)).items() if b":counter:" in key]
    assert 3 * len(users) == len(texts)
    assert {b"0 2000000 2"} == {b" ".join(text.split(b" ")[:3]) for text in texts}
