"""The fast scenarios of ``make chaos``, on every run of the tests."""

import pytest

from tests.chaos.scenario import Scenario, find_scenarios, perform

FAST = [scenario for scenario in find_scenarios() if scenario.fast]


@pytest.mark.parametrize("scenario", FAST, ids=[scenario.name for scenario in FAST])
async def test_what_a_scenario_promises_holds(scenario: Scenario) -> None:
    """Its own expectations and the comparison with the truth; the seed of a failure stands in its name."""
    report = await perform(scenario, seed=1)

    assert [] == report.faults


def test_scenarios_have_names_of_their_own() -> None:
    """A row of the table and a command name one scenario."""
    names = [scenario.name for scenario in find_scenarios()]

    assert sorted(set(names)) == sorted(names)
