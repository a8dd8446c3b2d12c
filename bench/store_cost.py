"""What a check costs the store: ``python -m bench.store_cost``. Microseconds of its main thread, by INFO.

Checks of 500 users in one tier, of 4 models and 3 groups, one after the other in batches of each size, the best of
several passes; a pass has a fresh workspace, so that no pass finds the store fuller than another.
"""

import asyncio
import tempfile
import uuid
from itertools import count
from pathlib import Path
from typing import Final

import redis.asyncio as redis

from bench.baselines import bench_plan
from cli.embedded import EmbeddedStore
from ledger.decisions import Operation
from ledger.operations import Admission, sent_text
from ledger.plans import Plan
from ledger.redis_ledger import RedisLedger

CHECKS: Final = {1: 4_000, 32: 16_000}
"""By the size of a batch."""
PASSES: Final = 3
USERS: Final = 500
MODELS: Final = ("gpt-5", "gpt-5-mini", "claude-sonnet-4-6", "gemini-3-pro")
GROUPS: Final = ("search", "chat", "summarize")
NANOS_PER_TOKEN: Final = 10_000
_NUMBERS: Final = count()


async def main_thread_seconds(client: "redis.Redis") -> float:
    """Return the CPU time that the store's main thread has used."""
    info = await client.info("cpu")
    return float(info["used_cpu_sys_main_thread"]) + float(info["used_cpu_user_main_thread"])


def check(plan: Plan) -> Admission:
    """Return one check by usage."""
    number = next(_NUMBERS)
    amount = NANOS_PER_TOKEN * (100 + number % 900)
    return Admission(
        operation=Operation.CHECK,
        plan=plan,
        request_id=uuid.uuid4().hex,
        user_id=f"user-{number % USERS}",
        amount_nanos=amount,
        sent=sent_text(Operation.CHECK, "pro", str(amount), 0),
        not_after_ms=plan.valid_until_ms,
        group=GROUPS[number % len(GROUPS)],
        model=MODELS[number % len(MODELS)],
        price_version="genai-prices 0.2.3 2026-11-20",
        input_tokens=100 + number % 900,
        output_tokens=50 + number % 450,
    )


async def cost_us(client: "redis.Redis", size: int) -> float:
    """Return the microseconds of the store's main thread for a check in batches of a size."""
    ledger, plan = RedisLedger(client, workspace=f"bench-{uuid.uuid4().hex[:12]}"), bench_plan()
    batches = [[check(plan) for _ in range(size)] for _ in range(CHECKS[size] // size)]
    await ledger.admit([check(plan)])
    before = await main_thread_seconds(client)
    for batch in batches:
        await ledger.admit(batch)
    spent_s = await main_thread_seconds(client) - before
    await client.flushall()
    return spent_s / CHECKS[size] * 1e6


async def measure(url: str) -> dict[int, list[float]]:
    """Return the cost of a check in every pass, by the size of the batch; sizes take turns."""
    costs: dict[int, list[float]] = {size: [] for size in CHECKS}
    async with redis.Redis.from_url(url) as client:
        for _ in range(PASSES):
            for size, passes in costs.items():
                passes.append(await cost_us(client, size))
    return costs


def main() -> None:
    """Measure over an embedded store and print."""
    with tempfile.TemporaryDirectory(prefix="sg-bench-") as name, EmbeddedStore.start(Path(name) / "store") as store:
        for size, costs in asyncio.run(measure(store.url)).items():
            print(f"batches of {size:2}: {min(costs):.1f} us a check (passes {', '.join(f'{c:.1f}' for c in costs)})")


if __name__ == "__main__":
    main()
