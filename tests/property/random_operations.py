"""A great many random operations on a real server and on the ledger in memory, which must agree in everything.

``make random``; ``OPERATIONS=1000000`` by default. The seed is printed first, and ``SEED=`` repeats a run.
"""

import argparse
import asyncio
import random
import time
from collections.abc import Callable
from typing import Final

import redis.asyncio

from ledger.decisions import Operation
from ledger.restores import RestoreKind
from tests.conftest import running_server, valkey_binary
from tests.property.comparison import assert_equal_play
from tests.property.operations import MODELS, Again, Call, Correct, End
from tests.property.scenarios import GROUPS, REQUESTS, RULE_SETS, TIERS, USERS, PassTime, Step, UseRules
from tests.support.ledger_under_test import HOUR_MS, memory_under_test
from tests.support.redis_under_test import redis_under_test

STEPS: Final = 60
"""Of one scenario; each begins with an empty ledger, and the whole log is compared after every step."""
TOLD_EVERY: Final = 50_000
ATTEMPTS: Final = ("", "one", "two", "three")
AGES_MS: Final = (0, 1000, 61_000, 3 * HOUR_MS, 30 * HOUR_MS)
PAUSES_MS: Final = (1, 1000, 61_000, HOUR_MS, 5 * HOUR_MS)
ENDS: Final = (
    *[Operation.SETTLE] * 4,
    *(Operation.RELEASE, Operation.RELEASE, Operation.RECORD, Operation.EXTEND, Operation.EXPIRE),
)


def random_call(rng: random.Random) -> Call:
    """Return a check or a reserve."""
    return Call(
        operation=rng.choice((Operation.CHECK, Operation.RESERVE, Operation.RESERVE)),
        user=rng.choice(USERS),
        request=rng.randrange(REQUESTS * 4),
        usd=rng.randrange(7),
        tier=rng.choice(TIERS),
        ttl_s=rng.choice((1, 60, 3600)),
        unpriced=rng.random() < 1 / 16,
        late=rng.random() < 1 / 32,
        group=rng.choice(GROUPS),
        model=rng.choice(MODELS),
        tokens=rng.choice((None, 0, 7)),
        attempt=rng.choice(ATTEMPTS),
    )


def random_end(rng: random.Random) -> End:
    """Return a settle, release, extend, expire or direct charge."""
    return End(
        operation=rng.choice(ENDS),
        user=rng.choice(USERS),
        request=rng.randrange(REQUESTS * 4),
        usd=rng.choice((0, 1, 2, 3, 5, 8, None)),
        tier=rng.choice(TIERS),
        reserved_ago_ms=rng.choice((*[None] * 6, *AGES_MS)),
        group=rng.choice(GROUPS),
        model=rng.choice(MODELS),
        tokens=rng.choice((None, 0, 7)),
        is_nobodys=rng.random() < 1 / 4,
    )


def random_again(rng: random.Random) -> Again:
    """Return what a journal tells."""
    return Again(
        kind=rng.choice((*RestoreKind, RestoreKind.VOID)),
        user=rng.choice(USERS),
        request=rng.randrange(REQUESTS * 4),
        usd=rng.randrange(7),
        tier=rng.choice(TIERS),
        ago_ms=rng.choice(AGES_MS),
        attempt=rng.choice(ATTEMPTS),
        with_plan=rng.random() < 1 / 2,
    )


def random_correction(rng: random.Random) -> Correct:
    """Return an operator's adjustment."""
    usd, ago_ms = rng.choice((-5, -2, -1, 1, 3)), rng.choice((None, *AGES_MS))
    return Correct(rng.choice(USERS), rng.randrange(REQUESTS * 4), usd, rng.choice(TIERS), ago_ms)


def random_step(rng: random.Random) -> Step:
    """Return the next step of a scenario."""
    number = rng.randrange(20)
    if number == 0:
        return UseRules(rng.choice((0, 0, 1, 1, 2, 2, 3)) % len(RULE_SETS))
    if number == 1:
        return PassTime(rng.choice(PAUSES_MS))
    if number == 2:
        return random_correction(rng)
    size = range(rng.randrange(1, 5))
    if number <= 4:
        return tuple(random_again(rng) for _ in size)
    return tuple(random_call(rng) for _ in size) if number <= 12 else tuple(random_end(rng) for _ in size)


def count_operations(steps: list[Step]) -> int:
    """Return how many operations the steps are."""
    return sum(len(step) if isinstance(step, tuple) else isinstance(step, Correct) for step in steps)


async def compare(url: str, seed: int, operations: int, tell: Callable[[str], None]) -> int:
    """Play scenarios until so many operations were done; returns how many. Raises `AssertionError`."""
    rng, done, told = random.Random(seed), 0, 0
    async with redis.asyncio.Redis.from_url(url) as client:
        while done < operations:
            steps: list[Step] = [random_step(rng) for _ in range(STEPS)]
            try:
                await assert_equal_play(memory_under_test(), await redis_under_test(client), steps)
            except AssertionError:
                tell(f"after {done} operations this scenario differs:\n" + "\n".join(map(repr, steps)))
                raise
            done += count_operations(steps)
            await client.flushdb()
            await client.function_flush("SYNC")  # Every scenario's programs have a clock of their own.
            if done // TOLD_EVERY > told:
                told = done // TOLD_EVERY
                tell(f"{done} operations agree")
    return done


def main() -> None:
    """Compare and say how long it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    arguments = parser.parse_args()
    print(f"SEED={arguments.seed}", flush=True)  # noqa: T201
    start = time.monotonic()

    def tell(text: str) -> None:
        print(f"{time.monotonic() - start:.0f} s: {text}", flush=True)  # noqa: T201

    with running_server(valkey_binary()) as url:
        done = asyncio.run(compare(url, arguments.seed, arguments.operations, tell))
    tell(f"{done} operations, no difference")


if __name__ == "__main__":
    main()
