"""The document of the enforcement log names what there is, and its numbers are those of the code."""

from pathlib import Path

import pytest

from controlplane import dry_run, enforcement_log
from controlplane.adjusting import MAX_NOTE_LENGTH
from controlplane.api import events
from controlplane.api.event_fields import FILTER_PARAMETERS
from controlplane.sidecars import Standing
from ledger.event_log import MAX_FOLLOWED_PARTITIONS, MAX_SCANNED
from ledger.events import EventType
from ledger.spend_reader import DAYS_KEPT, MAX_OPEN_HOLDS, MAX_TIERS

TEXT = (Path(__file__).parents[2] / "docs" / "enforcement-log.md").read_text()


@pytest.mark.parametrize("word", [*EventType, *FILTER_PARAMETERS, *Standing])
def test_every_type_parameter_and_standing_is_documented(word: str) -> None:
    """Whoever reads the document knows what to ask for, and what may come."""
    assert f"`{word}`" in TEXT or f"`{word}," in TEXT or f"{word}`" in TEXT


@pytest.mark.parametrize(
    "number",
    [
        MAX_SCANNED,
        enforcement_log.MAX_CSV_ROWS,
        enforcement_log.MAX_CSV_SCANNED,
        events.MAX_STREAMS,
        MAX_FOLLOWED_PARTITIONS,
        MAX_TIERS,
        MAX_OPEN_HOLDS,
        MAX_NOTE_LENGTH,
        DAYS_KEPT,
        dry_run.MAX_RULES,
    ],
)
def test_every_bound_is_documented(number: int) -> None:
    """As the code has it."""
    assert f"{number:,}" in TEXT
