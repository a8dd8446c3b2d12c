"""Rows of a CSV export: what a rule inherits is left empty, so that it goes on inheriting."""

from controlplane.override_csv import csv_header, csv_row
from controlplane.rule_rows import rule_row
from ledger.rule_book import StoredRule
from ledger.rules import Workspace
from ledger.windows import Calendar
from tests.support.ledger_under_test import rule


def _cells(zone: str) -> dict[str, object]:
    stored = StoredRule(rule("alice", 10), 1, 0, 0, "ann")
    row = rule_row(stored, Workspace(calendar=Calendar(zone)), 0, None)
    return dict(zip(csv_header(), csv_row(row), strict=True))


def test_an_inherited_time_zone_is_left_empty() -> None:
    """One of its own is told."""
    own = rule("alice", 10).calendar.timezone
    assert (None, own) == (_cells(own)["timezone"], _cells("Asia/Tokyo")["timezone"])
