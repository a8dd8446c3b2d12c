"""The journal of adjustments: what is kept comes back, and damage costs only itself."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from controlplane import adjustment_journal
from controlplane.adjustment_journal import AdjustmentJournal
from controlplane.kept_adjustments import KeptAdjustment, encode_line
from ledger.adjustments import Adjustment, adjustment_sent
from ledger.places import Place
from ledger.plans import compile_plan
from tests.support.ledger_under_test import HOUR_MS, NOON_MS, nanos, rules, template

DAY_MS = 24 * HOUR_MS
PLACE = Place("lineage", 7)


def adjustment(number: int, *, at_ms: int = NOON_MS) -> Adjustment:
    """Return a credit that was done."""
    amount = nanos(-number)
    return Adjustment(
        user_id="alice",
        request_id=f"credit-{number}",
        amount_nanos=amount,
        plan=compile_plan(rules(template("pro", 100)), "alice", "pro", at_ms),
        sent=adjustment_sent("pro", amount, None),
        at_ms=at_ms,
        done_ms=at_ms,
        meta='{"note":"a \\n line"}',
    )


def opened(directory: Path, *, now_ms: int = NOON_MS) -> AdjustmentJournal:
    """Open it."""
    return AdjustmentJournal(directory, "default", now_ms=now_ms)


def ids(journal: AdjustmentJournal) -> list[str]:
    """Return what is kept."""
    return [entry.adjustment.request_id for entry in journal]


def test_what_was_kept_is_there_after_a_start(tmp_path: Path) -> None:
    """Whole, in its order, with where it stood."""
    journal = opened(tmp_path)
    journal.keep(adjustment(1), PLACE)
    journal.keep(adjustment(2), None)
    journal.close()
    again = opened(tmp_path)

    kept = [KeptAdjustment(adjustment(1), PLACE), KeptAdjustment(adjustment(2), None)]
    assert [*map(encode_line, kept)] == [*map(encode_line, again)]
    assert (True, False) == (again.has(adjustment(1)), again.has(adjustment(3)))
    again.close()


@pytest.mark.parametrize("cut", [1, 30])
def test_a_torn_end_costs_the_last_one(tmp_path: Path, cut: int) -> None:
    """And what is kept afterwards stands on a line of its own."""
    journal = opened(tmp_path)
    for number in (1, 2):
        journal.keep(adjustment(number), PLACE)
    journal.close()
    path = tmp_path / "adjustments-default"
    path.write_bytes(path.read_bytes()[:-cut] if cut > 1 else path.read_bytes()[:-2])
    again = opened(tmp_path)
    again.keep(adjustment(3), PLACE)
    again.close()
    last = opened(tmp_path)

    assert ["credit-1", "credit-3"] == ids(last)
    last.close()


def test_a_flipped_byte_costs_its_line(tmp_path: Path) -> None:
    """An amount that is not the one that was kept must not be charged."""
    journal = opened(tmp_path)
    for number in (1, 2):
        journal.keep(adjustment(number), PLACE)
    journal.close()
    path = tmp_path / "adjustments-default"
    path.write_bytes(path.read_bytes().replace(b"-1000000000", b"-9000000000", 1))
    again = opened(tmp_path)

    assert ["credit-2"] == ids(again)
    again.close()


def test_an_adjustment_is_forgotten_with_its_counters(tmp_path: Path) -> None:
    """The month ends, and 35 days later its counters do."""
    journal = opened(tmp_path)
    journal.keep(adjustment(1), PLACE)
    journal.keep(adjustment(2, at_ms=NOON_MS + 20 * DAY_MS), PLACE)
    journal.close()
    again = opened(tmp_path, now_ms=NOON_MS + 40 * DAY_MS)

    assert ["credit-2"] == ids(again)
    again.close()


def test_two_control_planes_do_not_share_a_directory(tmp_path: Path) -> None:
    """Each would write over the other's."""
    journal = opened(tmp_path)
    with pytest.raises(OSError, match="another control plane"):
        opened(tmp_path)
    journal.close()


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a line would damage the next one."""
    journal = opened(tmp_path)
    real = os.write

    def write(descriptor: int, data: bytes) -> int:
        real(descriptor, bytes(data)[:10])
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr(adjustment_journal.os, "write", write)
    with pytest.raises(OSError, match="no space"):
        journal.keep(adjustment(1), PLACE)
    monkeypatch.undo()
    journal.keep(adjustment(2), PLACE)
    journal.close()
    again = opened(tmp_path)

    assert ["credit-2"] == ids(again)
    again.close()


def test_a_full_journal_forgets_the_oldest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stays within its bound, on the disk as well."""
    monkeypatch.setattr(adjustment_journal, "MAX_KEPT", 3)
    monkeypatch.setattr(adjustment_journal, "FORGOTTEN_AT_ONCE", 2)
    journal = opened(tmp_path)
    for number in range(1, 5):
        journal.keep(adjustment(number), PLACE)
    journal.close()
    again = opened(tmp_path)

    assert ["credit-3", "credit-4"] == ids(again)
    again.close()


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    """It has user ids."""
    journal = opened(tmp_path / "new")
    journal.keep(replace(adjustment(1), user_id="bob"), PLACE)
    journal.close()

    assert [0o700, 0o600] == [
        path.stat().st_mode & 0o777 for path in (tmp_path / "new", tmp_path / "new" / "adjustments-default")
    ]
