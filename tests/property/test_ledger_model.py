"""The contract's invariants 1 to 7 hold after every step of every scenario."""

import asyncio

import hypothesis
from hypothesis import HealthCheck, given, settings

from tests.property.invariants import Inspector
from tests.property.scenarios import Step, scenarios
from tests.property.test_ledger_comparison import EXAMPLES, seed
from tests.support.ledger_under_test import memory_under_test


def test_the_invariants_hold() -> None:
    """No over-admission, all or nothing, charged once, conserved, true, in its window, logged."""

    @hypothesis.seed(seed())
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(scenarios())
    def hold(steps: list[Step]) -> None:
        asyncio.run(Inspector(memory_under_test()).play(steps))

    hold()
