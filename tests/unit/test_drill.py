"""The drill's judgement of what a tier was told without the store."""

import pytest

from cli.drill import COST_NANOS, SLOWEST_S, TierDrill
from ledger.money import NANOS_PER_USD


def drill(policy: object, allowed: int, slowest_s: float = 0.001) -> TierDrill:
    """Return a tier's drill of ten calls."""
    found = TierDrill("free")
    for number in range(10):
        decision = {"degraded": True, "allowed": number < allowed, "on_store_failure": policy}
        found.note(decision, slowest_s if number == 0 else 0.001)
    return found


@pytest.mark.parametrize(
    ("policy", "allowed", "sidecars", "faults"),
    [
        ("deny", 0, 1, 0),
        ("deny", 1, 3, 1),
        ("allow", 10, 1, 0),
        ({"allow_up_to_usd": 5 * COST_NANOS / NANOS_PER_USD}, 5, 1, 0),
        ({"allow_up_to_usd": 5 * COST_NANOS / NANOS_PER_USD}, 6, 1, 1),
        ({"allow_up_to_usd": 5 * COST_NANOS / NANOS_PER_USD}, 10, 2, 0),
    ],
)
def test_more_than_the_bound_is_a_fault(policy: object, allowed: int, sidecars: int, faults: int) -> None:
    """An allowance is one for each sidecar."""
    assert faults == len(drill(policy, allowed).faults(sidecars))


def test_an_answer_that_waited_for_the_store_is_a_fault() -> None:
    """Whatever it says."""
    assert ["free: an answer took 2.0 s"] == drill("allow", 10, slowest_s=2 * SLOWEST_S).faults(1)


def test_a_store_that_answered_all_the_time_is_a_fault() -> None:
    """Then nothing was drilled."""
    idle = TierDrill("free")
    idle.note({"degraded": False}, 0.001)
    assert ["free: the store answered all the time"] == idle.faults(1)
