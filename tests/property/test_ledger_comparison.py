"""The ledger in Redis behaves as its specification in memory, whatever happens to it."""

import asyncio
import os
import random
from collections.abc import Awaitable, Callable

import hypothesis
import pytest
import redis.asyncio
from hypothesis import HealthCheck, given, settings

from ledger.decisions import Operation
from ledger.restores import RestoreKind
from tests.conftest import server_binaries
from tests.property.comparison import assert_equal_play
from tests.property.operations import Again, Call, Correct, End
from tests.property.scenarios import Step, UseRules, scenarios
from tests.support.ledger_under_test import LedgerUnderTest, memory_under_test
from tests.support.redis_under_test import redis_under_test

FOUND: tuple[list[Step], ...] = (
    # Made and lessened in one run: the total must have the call before it is taken off.
    [(Again(RestoreKind.RESERVE, "bob", 0, 0, "free", 0), Again(RestoreKind.RELEASE, "bob", 0, 0, "free", 0))],
    # Charged without an attempt and then undone, or told to one, in the same run.
    [
        (
            Again(RestoreKind.RECORD, "bob", 0, 3, None, 1000, with_plan=True),
            Again(RestoreKind.VOID, "bob", 0, 0, None, 0),
        )
    ],
    [
        (
            Again(RestoreKind.SETTLE, "bob", 0, 0, None, 0, with_plan=True),
            Again(RestoreKind.RESERVE, "bob", 0, 0, None, 0),
        )
    ],
    # A credit that came back before its charges, and then a zone that was never counted.
    [
        Correct("bob", 0, -2, "pro", ago_ms=0, done_ago_ms=1000),
        UseRules(1),
        (Call(Operation.RESERVE, "bob", 3, 1, "pro"),),
    ],
    # A hold that is undone, and then a charge under its id and another tier's rules, in the same run.
    [
        (Call(Operation.RESERVE, "bob", 0, 6, None, attempt="one"),),
        (
            Again(RestoreKind.VOID, "bob", 0, 0, None, 61_000, attempt="one"),
            Again(RestoreKind.RECORD, "bob", 0, 5, "free", 0, with_plan=True),
        ),
    ],
    # A settle of nobody's hold, a call that takes its id and is undone, and then another such settle.
    [
        (End(Operation.SETTLE, "bob", 0, 5, "pro"),),
        (Again(RestoreKind.CHECK, "bob", 0, 0, "pro", 1000, attempt="two"),),
        (Again(RestoreKind.VOID, "bob", 0, 0, "pro", 1000, attempt="two"),),
        (End(Operation.SETTLE, "bob", 0, 1, "pro"),),
    ],
    # A hold that is undone, and then a check under its id, in the same run.
    [
        (Call(Operation.RESERVE, "bob", 0, 5, "free", attempt="one"),),
        (
            Again(RestoreKind.VOID, "bob", 0, 3, "free", 1000, attempt="one"),
            Again(RestoreKind.CHECK, "bob", 0, 1, None, 0, attempt="two"),
        ),
    ],
    # A check that a second attempt is told of in the same run: the first one's void leaves it.
    [
        (
            Again(RestoreKind.CHECK, "bob", 0, 2, "free", 0, attempt="one"),
            Again(RestoreKind.CHECK, "bob", 0, 2, "free", 0, attempt="two"),
        ),
        (Again(RestoreKind.VOID, "bob", 0, 2, "free", 0, attempt="one"),),
    ],
    [
        (
            Call(Operation.CHECK, "bob", 0, 2, "free", attempt="one"),
            Call(Operation.CHECK, "bob", 0, 2, "free", attempt="two"),
        ),
        (Again(RestoreKind.VOID, "bob", 0, 2, "free", 0, attempt="one"),),
    ],
)
"""Scenarios that once went wrong."""

EXAMPLES = int(os.environ.get("SPENDGATE_TEST_EXAMPLES", "60"))


def seed() -> int:
    """Return this run's seed, which is printed: ``SPENDGATE_TEST_SEED`` or a random one."""
    number = int(os.environ.get("SPENDGATE_TEST_SEED", random.randrange(1 << 32)))
    print(f"SPENDGATE_TEST_SEED={number}")  # noqa: T201 - pytest shows it beside a failure
    return number


def compare(runner: asyncio.Runner, make_actual: Callable[[], Awaitable[LedgerUnderTest]]) -> None:
    """Hold fresh ledgers of a factory against fresh ones in memory, over many scenarios."""

    async def play(steps: list[Step]) -> None:
        await assert_equal_play(memory_under_test(), await make_actual(), steps)

    @hypothesis.seed(seed())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @hypothesis.example(FOUND[0])
    @hypothesis.example(FOUND[1])
    @hypothesis.example(FOUND[2])
    @hypothesis.example(FOUND[3])
    @hypothesis.example(FOUND[4])
    @hypothesis.example(FOUND[5])
    @hypothesis.example(FOUND[6])
    @hypothesis.example(FOUND[7])
    @hypothesis.example(FOUND[8])
    @given(scenarios(with_journals=True))
    def same(steps: list[Step]) -> None:
        runner.run(play(steps))

    same()


@pytest.mark.parametrize("server", sorted(server_binaries()))
def test_the_scripts_equal_the_specification(server: str, request: pytest.FixtureRequest) -> None:
    """Every result, event and counter is the same on a real server."""
    with asyncio.Runner() as runner:
        client = redis.asyncio.Redis.from_url(request.getfixturevalue(f"{server}_url"))
        try:
            compare(runner, lambda: redis_under_test(client))
        finally:
            runner.run(client.aclose())
