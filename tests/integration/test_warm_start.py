"""A sidecar that says it serves has already met its store: no caller pays for what a start has to do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from sidecar.journal_replay import Replayer
from sidecar.listeners import Listeners
from tests.conftest import running_server, server_binaries
from tests.support.processes import template, write_rules
from tests.support.service_thread import sidecar_in_a_thread


@pytest.fixture(params=sorted(server_binaries()))
def store(request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty store."""
    with running_server(server_binaries()[request.param]) as url:
        yield url


def test_the_programs_are_loaded_before_the_first_call(store: str, tmp_path: Path) -> None:
    """Those of decisions and of settles, into a store that was empty."""
    rules = write_rules(tmp_path / "rules.yaml", template("free", 1))
    with (
        sidecar_in_a_thread(tmp_path / "data", store, rules=rules),
        redis.Redis.from_url(store) as client,
    ):
        libraries = repr(client.execute_command("FUNCTION", "LIST"))

    assert [True, True] == ["spendgate_admit_" in libraries, "spendgate_resolve_" in libraries]


def test_what_a_store_may_have_lost_is_made_good_before_the_first_call(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the first decisions after a restart of both would be refused; the lineage of the store is another here."""
    order: list[str] = []
    recover, open_listeners = Replayer._recover, Listeners.open

    async def note_recovery(self: Replayer, lost: Any) -> None:
        await recover(self, lost)
        order.append("made good")

    async def note_opening(self: Listeners, *arguments: Any) -> None:
        order.append("open")
        await open_listeners(self, *arguments)

    monkeypatch.setattr(Replayer, "_recover", note_recovery)
    monkeypatch.setattr(Listeners, "open", note_opening)
    rules = write_rules(tmp_path / "rules.yaml", template("free", 1))
    with sidecar_in_a_thread(tmp_path / "data", store, rules=rules):
        pass
    with redis.Redis.from_url(store) as client:
        client.flushall()
    with sidecar_in_a_thread(tmp_path / "data", store, rules=rules):
        pass

    assert ["open", "made good", "open"] == order
