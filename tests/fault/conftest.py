"""What the processes of `spendgate up` and of the demo have in tests."""

import pytest

from cli import demo_processes
from tests.support.ports import free_ports
from tests.support.processes import START_DEADLINE_S, STOP_DEADLINE_S


@pytest.fixture(autouse=True)
def _ports_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests that run side by side, and a sidecar of the tester's, away from the ports that people know."""
    names = ("DEFAULT_PORT", "DEFAULT_ADMIN_PORT", "DEFAULT_PAGE_PORT", "DEFAULT_PAGE_ADMIN_PORT")
    for name, port in zip(names, free_ports(len(names)), strict=True):
        monkeypatch.setattr(demo_processes, name, port)


@pytest.fixture(autouse=True)
def _all_the_time_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for the processes of a demo as long as for any others."""
    monkeypatch.setattr(demo_processes, "READY_DEADLINE_S", START_DEADLINE_S)
    monkeypatch.setattr(demo_processes, "STOP_DEADLINE_S", STOP_DEADLINE_S)
