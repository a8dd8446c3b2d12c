"""Loads the profile of Hypothesis before its decorators are read."""

import tests.support.unhurried_examples  # noqa: F401
