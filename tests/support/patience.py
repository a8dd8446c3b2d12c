"""How patient the sidecars of tests are with their store: all of them, unless a test is about running out of time."""

from collections.abc import Mapping
from typing import Final

PATIENT: Final = {"deadline_ms": 10_000, "command_timeout_ms": 10_000, "connect_timeout_ms": 10_000}
"""What every sidecar of a test is given: a machine that stalls must not look like an outage of the store."""
KEPT_WITHIN_S: Final = 60.0
"""How long what tests make in their own process waits for the disk."""
HASTY: Final = {"deadline_ms": 250, "command_timeout_ms": 100, "connect_timeout_ms": 50}
"""What a sidecar has by default; for tests in which the store is gone, or is to look so."""


def sidecar_environment(settings: Mapping[str, object]) -> dict[str, str]:
    """Return the SPENDGATE_... variables of settings, patient where they do not say otherwise."""
    return {f"SPENDGATE_{name.upper()}": str(value) for name, value in (PATIENT | dict(settings)).items()}
