"""What programs keep between their runs stays small, however many rules there are: every run goes through it."""

from collections.abc import AsyncIterator

import pytest
import redis.asyncio as redis

from ledger.decisions import Decision, Operation, Settlement
from ledger.operations import Resolution, sent_text
from ledger.plans import compile_plan
from ledger.redis_ledger import RedisLedger
from ledger.rule_parsing import parse_rule_set
from tests.conftest import running_server, valkey_binary
from tests.support.books import new_workspace
from tests.support.operations import admission_of

USERS = 1000
BATCH = 20
NANOS = 125_000
LIMIT_BYTES = 3 << 20


@pytest.fixture
async def client() -> AsyncIterator["redis.Redis"]:
    """Run a store of its own: what other tests' programs keep is not ours to count."""
    with running_server(valkey_binary()) as url:
        async with redis.Redis.from_url(url) as connected:
            yield connected


def _override(number: int) -> dict[str, object]:
    return {
        "kind": "user_override",
        "key": f"user-{number}",
        "limit_usd": 1000 + number,
        "window": "day",
        "action": "block",
        "alert_thresholds_pct": [50, 80, 95],
    }


async def test_a_thousand_overrides_leave_the_programs_memory_small(client: "redis.Redis") -> None:
    """Catches caches of what belongs to one user only: they took megabytes, and every other call was twice as dear."""
    rules = parse_rule_set({"rules": [_override(number) for number in range(USERS)]}, revision=1)
    ledger = RedisLedger(client, workspace=new_workspace())
    for first in range(0, USERS, BATCH):
        users = [f"user-{number}" for number in range(first, first + BATCH)]
        now_ms = await ledger.store_time_ms()
        plans = [compile_plan(rules, user, "pro", now_ms) for user in users]
        held = await ledger.admit(
            [admission_of(plan, user, f"call-{user}", NANOS) for plan, user in zip(plans, users, strict=True)]
        )
        assert all(isinstance(answer, Decision) and answer.allowed for answer in held)
        ended = await ledger.resolve([_settle(user) for user in users])
        assert all(isinstance(answer, Settlement) for answer in ended)
    kept_bytes = (await client.info("memory"))["used_memory_vm_functions"]
    assert kept_bytes < LIMIT_BYTES


def _settle(user_id: str) -> Resolution:
    return Resolution(
        operation=Operation.SETTLE,
        user_id=user_id,
        request_id=f"call-{user_id}",
        amount_nanos=NANOS,
        sent=sent_text(Operation.SETTLE, None, str(NANOS), 0),
    )
