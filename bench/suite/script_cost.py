"""What an operation costs the store: microseconds of the programs by INFO commandstats, alone and in batches."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from itertools import count
from typing import Any, Final

import redis.asyncio as redis

from bench.baselines import bench_plan
from bench.suite.rounds import Case, Result
from ledger.decisions import Decision, Operation, Settlement
from ledger.operations import Admission, Resolution, sent_text
from ledger.plans import Plan
from ledger.redis_ledger import RedisLedger

BATCHES: Final = (1, 8, 24, 32, 64)
OPERATIONS: Final = ("check", "reserve", "settle")
OPERATIONS_A_ROUND: Final = 1600
USERS: Final = 1000
AMOUNT_NANOS: Final = 125_000
TTL_MS: Final = 600_000
_NUMBERS: Final = count()


def _user(number: int) -> str:
    return f"user-{number * 7919 % USERS:06d}"


def _admission(plan: Plan, operation: Operation, number: int, tag: str) -> Admission:
    ttl_ms = TTL_MS if operation is Operation.RESERVE else 0
    return Admission(
        operation=operation,
        plan=plan,
        request_id=f"{tag}-{number:012d}",
        user_id=_user(number),
        amount_nanos=AMOUNT_NANOS,
        sent=sent_text(operation, "pro", str(AMOUNT_NANOS), ttl_ms),
        not_after_ms=plan.valid_until_ms,
        ttl_ms=ttl_ms,
        attempt=f"{number:x}",
    )


def _settle(number: int, tag: str) -> Resolution:
    return Resolution(
        operation=Operation.SETTLE,
        user_id=_user(number),
        request_id=f"{tag}-{number:012d}",
        amount_nanos=AMOUNT_NANOS,
        sent=sent_text(Operation.SETTLE, None, str(AMOUNT_NANOS), 0),
    )


async def _run(url: str, operation: str, batch: int) -> Result:
    """Return the microseconds of the store an operation, over one round."""
    plan, tag = bench_plan(), f"{time.time_ns():x}"
    numbers = [next(_NUMBERS) for _ in range(OPERATIONS_A_ROUND)]
    batches = [numbers[start : start + batch] for start in range(0, OPERATIONS_A_ROUND, batch)]
    async with redis.Redis.from_url(url) as client:
        ledger = RedisLedger(client, workspace="cost")
        first = Operation.CHECK if operation == "check" else Operation.RESERVE

        async def admit() -> None:
            for each in batches:
                _require(await ledger.admit([_admission(plan, first, number, tag) for number in each]), Decision)

        async def settle() -> None:
            for each in batches:
                _require(await ledger.resolve([_settle(number, tag) for number in each]), Settlement)

        if operation != "settle":
            return await _timed(client, admit)
        await admit()
        return await _timed(client, settle)


async def _timed(client: "redis.Redis", work: Callable[[], Coroutine[Any, Any, None]]) -> Result:
    await client.config_resetstat()
    await work()
    stats = (await client.info("commandstats"))["cmdstat_fcall"]
    latency = (await client.info("latencystats"))["latency_percentiles_usec_fcall"]
    return {"store_us": stats["usec"] / OPERATIONS_A_ROUND, "script_p99_us": float(latency["p99"])}


def _require(answers: Sequence[object], kind: type) -> None:
    for answer in answers:
        if not isinstance(answer, kind) or getattr(answer, "replayed", False):
            raise TypeError(f"the store answered {answer}")


def cases(url: str) -> dict[str, Case]:
    """Return a case for each operation and size of a batch, named ``check 32``."""

    def case(operation: str, batch: int) -> Case:
        return lambda: asyncio.run(_run(url, operation, batch))

    return {f"{operation} {batch}": case(operation, batch) for operation in OPERATIONS for batch in BATCHES}
