"""Each check of an invariant, alone, finds the bug that was made for it, and nothing in the ledger without it."""

import asyncio
from random import Random

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, settings

from ledger.memory_ledger import MemoryLedger
from tests.property.comparison import assert_equal_play
from tests.property.invariants import Inspector, InvariantBroken
from tests.property.scenarios import Step, scenarios
from tests.property.seeded_bugs import BUGS
from tests.support.ledger_under_test import memory_under_test

SEARCH = settings(
    max_examples=2000,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def breaks(kind: type[MemoryLedger], number: int, steps: list[Step]) -> bool:
    """Say whether the check of one invariant fails for this kind of ledger."""
    try:
        asyncio.run(Inspector(memory_under_test(kind), invariants={number}).play(steps))
    except InvariantBroken as broken:
        return broken.number == number
    return False


def differs(kind: type[MemoryLedger], steps: list[Step]) -> bool:
    """Say whether this kind of ledger can be told from the specification."""
    try:
        asyncio.run(assert_equal_play(memory_under_test(), memory_under_test(kind), steps))
    except AssertionError:
        return True
    return False


@pytest.mark.parametrize(("number", "kind"), BUGS, ids=[kind.__name__ for _, kind in BUGS])
def test_the_check_of_an_invariant_finds_its_bug(number: int, kind: type[MemoryLedger]) -> None:
    """The check fails with the bug and passes the same scenario without it."""
    steps = hypothesis.find(
        scenarios(), lambda steps: breaks(kind, number, steps), settings=SEARCH, random=Random(number)
    )
    assert not breaks(MemoryLedger, number, steps)


@pytest.mark.parametrize("kind", [kind for _, kind in BUGS], ids=[kind.__name__ for _, kind in BUGS])
def test_the_comparison_finds_every_bug(kind: type[MemoryLedger]) -> None:
    """Two ledgers that differ by one bug are told apart."""
    assert hypothesis.find(scenarios(), lambda steps: differs(kind, steps), settings=SEARCH, random=Random(0))
