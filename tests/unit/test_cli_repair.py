"""`spendgate audit --repair`: what it says, and how it ends."""

import json
from collections.abc import Callable

import pytest

from cli import audit
from cli.main import main
from ledger.audit import AuditReport
from ledger.audit_difference import Difference
from ledger.plans import parse_window_code
from ledger.repair_plan import Correction, CorrectionKind
from ledger.repairs import RepairReport

STORE = ("--redis-url", "redis://127.0.0.1:1")
HELD = Correction(
    partition=0,
    kind=CorrectionKind.COUNTER,
    name="ada",
    window=parse_window_code("day:0:86400"),
    found_held_nanos=1_500_000_000,
    held_nanos=-1_500_000_000,
)
LINE = "user ada, day:0:86400, held: $1.50 becomes $0.00"
LEFT = Difference("user bob, month:0:86400, its days' spend", "exactly", 0, 1)


def _after(*differences: Difference) -> AuditReport:
    return AuditReport(
        counters=1, records=1, open_holds=0, held_nanos=0, charged_nanos=0, differences=list(differences)
    )


def _stub(monkeypatch: pytest.MonkeyPatch, report: RepairReport) -> list[bool]:
    asked: list[bool] = []

    def repair(_url: str, _workspace: str, *, apply: bool) -> RepairReport:
        asked.append(apply)
        return report

    stub: Callable[..., RepairReport] = repair
    monkeypatch.setattr(audit, "repair", stub)
    return asked


def test_a_dry_run_lists_and_ends_with_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What would be put right, what is left, and how to do it."""
    asked = _stub(monkeypatch, RepairReport(corrections=[HELD], left=[LEFT]))
    code = main(["audit", "--repair", *STORE])
    told = [LINE, "1 figures would be put right; --yes does it", f"left: {LEFT}"]
    assert (1, [False], told) == (code, asked, capsys.readouterr().out.splitlines())


def test_a_repair_ends_as_the_audit_after_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With nothing left it succeeds."""
    asked = _stub(monkeypatch, RepairReport(corrections=[HELD], after=_after()))
    code = main(["audit", "--repair", "--yes", *STORE])
    lines = capsys.readouterr().out.splitlines()
    assert (0, [True], [LINE, "1 figures were put right"]) == (code, asked, lines[:2])
    assert "no difference" == lines[-1]


def test_a_repair_that_leaves_something_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As JSON it tells what was done and what the audit still finds."""
    _stub(monkeypatch, RepairReport(corrections=[HELD], left=[LEFT], after=_after(LEFT)))
    code = main(["audit", "--repair", "--yes", "--json", *STORE])
    document = json.loads(capsys.readouterr().out)
    assert (1, [LINE], LEFT.what) == (code, document["repaired"], document["left"][0]["what"])
    assert LEFT.what == document["after"]["differences"][0]["what"]


def test_a_busy_workspace_is_an_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what to do; what was put right before is told."""
    _stub(monkeypatch, RepairReport(corrections=[HELD], is_busy=True))
    code = main(["audit", "--repair", "--yes", *STORE])
    assert 1 == code
    told = capsys.readouterr().err
    assert LINE in told
    assert "stop its sidecars" in told


def test_yes_alone_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """An audit by itself changes nothing that could be agreed to."""
    assert (2, "spendgate: --yes goes with --repair\n") == (main(["audit", "--yes", *STORE]), capsys.readouterr().err)
