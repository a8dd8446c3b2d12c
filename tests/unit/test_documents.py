"""What can be set, measured, answered, called or linked is documented, and what is documented exists."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import controlplane
import ledger
import sidecar
from controlplane.settings import SETTINGS as CONTROL_SETTINGS
from ledger.errors import LedgerError
from sidecar.settings import SETTINGS
from tests.support.command_reference import PAGE, command_reference
from tests.support.processes import ROOT
from tests.support.prometheus import rules

DOCS: Final = ROOT / "docs"
PAGES: Final = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])
AT_THE_START: Final = {"partition_mismatch", "wrong_topology", "workers_failed", "repartition_refused"}
"""Codes of processes and commands that end with them; nobody is answered with one."""

VARIABLE: Final = re.compile(r"\bSPENDGATE_[A-Z0-9_]*[A-Z0-9]\b")

ROW: Final = re.compile(r"^\| (?P<status>\d{3}) \| (?P<codes>[^|]+) \|", re.MULTILINE)


def _errors(of: type[LedgerError]) -> Iterator[type[LedgerError]]:
    for error in of.__subclasses__():
        yield error
        yield from _errors(error)


def _load(*rooms: object) -> None:
    for room in rooms:
        for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):  # type: ignore[attr-defined]
            importlib.import_module(module.name)


def test_every_answer_that_is_no_success_is_documented() -> None:
    """Each code with its status, in the table of the API that answers it."""
    _load(ledger, sidecar, controlplane)
    pages = (DOCS / "http-api.md", DOCS / "control-plane.md")
    told = {
        (int(row["status"]), code)
        for page in pages
        for row in ROW.finditer(page.read_text())
        for code in re.findall(r"`(\w+)`", row["codes"])
    }
    answered = {(error.status, error.code) for error in _errors(LedgerError) if error.__module__.split(".")[0] != "cli"}
    assert set() == {pair for pair in answered if pair[1] not in AT_THE_START} - told


def test_every_command_and_every_flag_is_documented() -> None:
    """As the command line tells it; `make docs` writes the page anew."""
    assert command_reference() == PAGE.read_text(), "run `make docs`"


def test_every_alert_is_documented_with_its_severity() -> None:
    """In the table that says when it rings, with its runbook behind the name."""
    text = (DOCS / "monitoring.md").read_text()
    told = dict(re.findall(r"^\| \[(\w+)\]\(runbooks/\1\.md\) \| (\w+) \|", text, re.MULTILINE))
    assert told == {name: rule["labels"]["severity"] for name, rule in rules("alert").items()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    """To a file that is there, and to a heading of it."""
    links = re.findall(r"\]\((?!https?://|mailto:)([^)#\s]*)(?:#([\w-]+))?\)", page.read_text())
    assert [] == [link for link in links if not _exists(page, *link)]


def _exists(page: Path, link: str, heading: str) -> bool:
    target = (page.parent / link) if link else page
    if not heading or target.suffix != ".md":
        return target.exists()
    return target.exists() and heading in {_anchor(line) for line in target.read_text().splitlines() if line[:1] == "#"}


def _anchor(line: str) -> str:
    """Return what a heading is called in a link."""
    return re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower()).replace(" ", "-")


def test_every_variable_that_is_written_somewhere_is_a_setting() -> None:
    """In pages, manifests, charts and the image: a misspelt variable is ignored in silence."""
    known = {setting.env for setting in (*SETTINGS, *CONTROL_SETTINGS)}
    # What the command line and the SDK read stands in their sources; a secret's file is a setting of its own.
    sources = [*(ROOT / "cli").rglob("*.py"), *(ROOT / "sdk").rglob("src/**/*.py")]
    known |= {name for source in sources for name in VARIABLE.findall(source.read_text())}
    files = [*PAGES, *(ROOT / "config").rglob("*.yaml"), *(ROOT / "config").rglob("*.tpl"), ROOT / "Dockerfile"]
    written = {
        (file.relative_to(ROOT).as_posix(), name) for file in files for name in VARIABLE.findall(file.read_text())
    }
    assert set() == {pair for pair in written if pair[1] not in known}


def test_a_missing_code_would_be_found() -> None:
    """The table is read as it is written."""
    assert ("409", "`a`, `b` ") == ROW.findall("| 409 | `a`, `b`  | Do |")[0]
