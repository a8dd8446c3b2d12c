"""What a check costs the store, and how much of that is the breakdown: ``python -m bench.store_cost``.

Microseconds of one run of the program a check, by INFO commandstats, over an embedded store: checks of 500 users in one
tier, by usage, of 4 models and 3 groups, in batches of each size. The program as it is and one that counts no breakdown
take turns, 10 runs or so each, so that what slows the machine slows both; the medians, and the median of the
differences of neighbours.
"""

import asyncio
import random
import statistics
import tempfile
import uuid
from collections.abc import Sequence
from importlib.resources import files
from itertools import count
from pathlib import Path
from typing import Final

import redis.asyncio as redis

from bench.baselines import bench_plan
from cli.embedded import EmbeddedStore
from ledger.decisions import Operation
from ledger.operations import Admission, sent_text
from ledger.plans import Plan
from ledger.redis_ledger import RedisLedger, load_programs

CHECKS_A_TURN: Final = {1: 100, 32: 320}
"""By the size of a batch."""
TURNS: Final = 60
USERS: Final = 500
MODELS: Final = ("gpt-5", "gpt-5-mini", "claude-sonnet-4-6", "gemini-3-pro")
GROUPS: Final = ("search", "chat", "summarize")
NANOS_PER_TOKEN: Final = 10_000
COUNTING: Final = "local function count_call(call, is_check)\n"
"""Where ``lua/include/admissions.lua`` begins to count a call for the breakdown."""
NOTHING: Final = "  if true then return end\n"
_NUMBERS: Final = count()


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


async def turn_us(client: "redis.Redis", ledger: RedisLedger, plan: Plan, size: int) -> float:
    """Return the microseconds of the program for a check, over one turn."""
    checks = CHECKS_A_TURN[size]
    batches = [[check(plan) for _ in range(size)] for _ in range(checks // size)]
    await client.config_resetstat()
    for batch in batches:
        await ledger.admit(batch)
    stats = await client.info("commandstats")
    return float(stats["cmdstat_fcall"]["usec"]) / checks


async def measure(client: "redis.Redis", size: int) -> tuple[Sequence[float], Sequence[float]]:
    """Return the cost of a check in every turn: as it is, and without the breakdown."""
    source = (files("lua") / "include" / "admissions.lua").read_text()
    if COUNTING not in source:
        raise ValueError("lua/include/admissions.lua counts calls in another way now")
    plan = bench_plan()
    programs = [
        load_programs(),
        load_programs(replacements={"admissions": source.replace(COUNTING, COUNTING + NOTHING)}),
    ]
    ledgers = [RedisLedger(client, workspace=f"bench-{number}", programs=each) for number, each in enumerate(programs)]
    costs: list[list[float]] = [[], []]
    for ledger in ledgers:
        await turn_us(client, ledger, plan, size)
    for _ in range(TURNS):
        for number in random.sample((0, 1), 2):
            costs[number].append(await turn_us(client, ledgers[number], plan, size))
    await client.flushall()
    return costs[0], costs[1]


async def report(url: str) -> None:
    """Measure every size and print."""
    async with redis.Redis.from_url(url) as client:
        for size in CHECKS_A_TURN:
            full, bare = await measure(client, size)
            more = statistics.median(a - b for a, b in zip(full, bare, strict=True))
            print(
                f"batches of {size:2}: {statistics.median(full):.1f} us a check, "
                f"{statistics.median(bare):.1f} without the breakdown ({more:+.1f})"
            )


def main() -> None:
    """Measure over an embedded store."""
    with tempfile.TemporaryDirectory(prefix="sg-bench-") as name, EmbeddedStore.start(Path(name) / "store") as store:
        asyncio.run(report(store.url))


if __name__ == "__main__":
    main()
