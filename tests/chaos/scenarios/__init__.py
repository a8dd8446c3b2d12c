"""One file a scenario; each defines `SCENARIO`. `tests.chaos.scenario.find_scenarios` finds them all."""
