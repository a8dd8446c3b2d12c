"""Revisions of a rule file that states none: one number never stands for two rule sets, whatever is killed when."""

import os
import urllib.request
from pathlib import Path

import pytest

from ledger.bulk_work import BULK_RULES
from sidecar.rule_copy import COPY_NAME
from tests.support.processes import SidecarProcess, launch, running_sidecar, template, wait_until_serving, write_rules

ANSWER_S = 60.0


def _revision(sidecar: SidecarProcess) -> float:
    with urllib.request.urlopen(f"{sidecar.admin_url}/metrics", timeout=ANSWER_S) as response:
        lines = response.read().decode().splitlines()
    return float(next(line.split()[-1] for line in lines if line.startswith("spendgate_rules_revision ")))


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Return the data directory of the test's sidecar."""
    return tmp_path / "sidecar-0" / "data"


def test_a_sidecar_killed_before_the_copy_of_very_many_rules_gives_no_number_twice(
    valkey_url: str, tmp_path: Path, data_dir: Path
) -> None:
    """Rules of a start are in force before their copy is on disk; catches two rule sets that answer as revision 2."""

    def rules_of(limit_usd: int) -> Path:
        return write_rules(tmp_path / "rules.json", *(template(f"t{n}", limit_usd) for n in range(BULK_RULES)))

    with running_sidecar(tmp_path, valkey_url, rules_of(1)) as sidecar:
        first = _revision(sidecar)
    new_copy = data_dir / f"{COPY_NAME}.new"
    os.mkfifo(new_copy)  # Who opens it to write waits for a reader: the copy is never written.
    process = launch(data_dir.parent, valkey_url, rules_of(2))
    try:
        second = _revision(wait_until_serving(process, data_dir.parent / "log"))
    finally:
        process.kill()
        process.wait()
    new_copy.unlink()
    with running_sidecar(tmp_path, valkey_url, rules_of(3)) as sidecar:
        third = _revision(sidecar)

    assert [1, 2, 3] == [first, second, third]
