"""A real Prometheus over a real sidecar, a control plane and a store that goes away: alerts ring, and end."""

import asyncio
import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.support.apps import ask, ask_all, open_session
from tests.support.books import new_workspace
from tests.support.processes import SidecarProcess, running_sidecar, template, write_rules
from tests.support.prometheus import dashboard_queries, running_prometheus
from tests.support.service_thread import control_plane_in_a_thread
from tests.support.stores import StoreProcess, store_process

HASTE: Final = 20
DEADLINE_S: Final = 45.0
PAUSE_S: Final = 0.02
OUTAGE: Final = {"SpendgateFailOpen", "SpendgateDecisionsDegraded", "SpendgateBreakerOpen"}
OUTAGE_TIMEOUTS: Final = {"deadline_ms": 1000, "command_timeout_ms": 1000}
"""A frozen store is soon found out, and a busy machine is none."""
USERS: Final = 10_000
BATCH: Final = 250
EMPTY_IS_WELL: Final = (
    *("store_errors", "problems_total", "control_requests", "journal_replayed"),
    *('decision=~"warn|dry_run"', 'degraded="true"', 'decision="block"'),
)
"""Queries for what does not happen while all is well."""


class Load(threading.Thread):
    """An app's calls, one after the other, until told to stop: one user may pass without the store, the other not."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self._stopping = threading.Event()

    def run(self) -> None:
        """Call."""
        asyncio.run(self._call())

    async def _call(self) -> None:
        async with open_session() as session:
            number = 0
            while not self._stopping.is_set():
                number += 1
                for tier in ("free", "pro"):
                    owner = {"user_id": f"{tier}-user", "request_id": f"{tier}-{number}"}
                    await ask(session, f"{self._url}/v1/reserve", {**owner, "tier": tier, "estimate_usd": 0.001})
                    await ask(session, f"{self._url}/v1/settle", {**owner, "cost_usd": 0.002})
                await asyncio.sleep(PAUSE_S)

    def stop(self) -> None:
        """End it."""
        self._stopping.set()
        self.join()


@contextmanager
def _house(directory: Path) -> Iterator[tuple[SidecarProcess, StoreProcess, str]]:
    """Run a store, a control plane and a sidecar that follows its rules; yields the page's admin address as well."""
    workspace = new_workspace()
    settings = {"workspace": workspace, **OUTAGE_TIMEOUTS}
    seed = write_rules(directory / "seed.yaml", template("free", 1000), template("pro", 1000, action="warn"))
    with ExitStack() as stack:
        store = stack.enter_context(store_process())
        page = stack.enter_context(control_plane_in_a_thread(store.url, workspace=workspace, seed=str(seed)))
        sidecar = stack.enter_context(running_sidecar(directory / "sidecar", store.url, None, **settings))
        yield sidecar, store, page.admin_url.removeprefix("http://")
        store.thaw()


@pytest.mark.timeout(240)
def test_an_outage_rings_and_ends(tmp_path: Path) -> None:
    """Every query of the dashboard answers while all is well; a frozen store rings three alerts; they end with it."""
    with _house(tmp_path) as (sidecar, store, page), ExitStack() as stack:
        targets = {
            "spendgate-sidecars": sidecar.admin_url.removeprefix("http://"),
            "spendgate-controlplane": page,
        }
        prometheus = stack.enter_context(running_prometheus(tmp_path, targets, hasten_by=HASTE))
        load = Load(sidecar.url)
        load.start()
        stack.callback(load.stop)
        steady = "min_over_time(spendgate:decision_seconds:p99_rate5m[3s]) > 0"
        assert prometheus.until(lambda server: bool(server.query(steady)), DEADLINE_S)
        wanted = [query for query in dashboard_queries() if not any(part in query for part in EMPTY_IS_WELL)]
        assert [] == [query for query in wanted if not prometheus.query(query)]
        assert set() == prometheus.firing() & OUTAGE

        store.freeze()
        assert prometheus.until(lambda server: server.firing() >= OUTAGE, DEADLINE_S), prometheus.firing()
        during = [query for query in dashboard_queries() if 'degraded="true"' in query or "store_errors" in query]
        assert [] == [query for query in during if not prometheus.query(query)]

        store.thaw()
        assert prometheus.until(lambda server: not server.firing() & OUTAGE, DEADLINE_S), prometheus.firing()


def _scrape(sidecar: SidecarProcess) -> tuple[set[str], float]:
    """Return the series of a scrape and how long it took, in seconds."""
    started = time.perf_counter()
    with urllib.request.urlopen(f"{sidecar.admin_url}/metrics", timeout=DEADLINE_S) as response:
        text = response.read().decode()
    elapsed_s = time.perf_counter() - started
    return {line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")}, elapsed_s


async def _check_users(sidecar: SidecarProcess, first: int, count: int) -> list[int]:
    operations = [
        {"op": "check", "user_id": f"user-{number}", "tier": f"tier-{number}", "cost_usd": 0.001}
        for number in range(first, first + count)
    ]
    bodies = [{"operations": operations[at : at + BATCH]} for at in range(0, count, BATCH)]
    async with open_session() as session:
        answers = await ask_all(session, [(f"{sidecar.url}/v1/batch", body) for body in bodies], at_a_time=1)
    return [len(answer.document["results"]) for answer in answers]


def test_users_add_no_series(tmp_path: Path) -> None:
    """10,000 users in as many tiers leave the number of series as one left it: no label is anybody's name."""
    rules = write_rules(tmp_path / "rules.yaml", template("*", 1000))
    with store_process() as store, running_sidecar(tmp_path, store.url, rules, workspace=new_workspace()) as sidecar:
        asyncio.run(_check_users(sidecar, 0, 1))
        before, _ = _scrape(sidecar)
        sizes = asyncio.run(_check_users(sidecar, 1, USERS))
        after, _ = _scrape(sidecar)

    assert USERS == sum(sizes)
    assert before == after, json.dumps(sorted(after - before))
