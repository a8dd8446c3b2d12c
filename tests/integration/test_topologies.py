"""Everything works over Sentinels and over a Cluster as it does over one server: decisions, rules, page, audit."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from ledger.keys import partition_of
from tests.conftest import server_binaries, valkey_binary
from tests.support.apps import Answer, ask, ask_all, open_session
from tests.support.books import Books, new_workspace, read_books
from tests.support.control_plane import ControlPlane, control_plane
from tests.support.processes import SidecarProcess, running_sidecars
from tests.support.servers import STEADY_MS, cluster_store, sentinel_store

PARTITIONS: Final = 8
USERS: Final = [f"user-{number}" for number in range(24)]
COST_NANOS: Final = 250_000_000
LIMIT_NANOS: Final = 1_000_000_000
WITHIN_S: Final = 60.0


@pytest.fixture(scope="module", params=["sentinel", "cluster"])
def store_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A store of each topology: the older server as a Cluster, the newer one behind Sentinels."""
    if request.param == "sentinel":
        with sentinel_store(valkey_binary(), down_after_ms=STEADY_MS) as sentinels:
            yield sentinels.url
    else:
        with cluster_store(server_binaries().get("redis"), node_timeout_ms=STEADY_MS) as cluster:
            yield cluster.url


@dataclass(frozen=True, slots=True)
class Deployment:
    """A control plane whose rules two sidecars follow, over one store."""

    control: ControlPlane
    sidecars: list[SidecarProcess]
    session: aiohttp.ClientSession
    store_url: str

    async def ask_for(self, user_id: str, call: str, **body: Any) -> Answer:
        """Ask one of the sidecars."""
        sidecar = self.sidecars[partition_of(user_id, len(self.sidecars))]
        return await ask(self.session, f"{sidecar.url}/v1/{call}", {"user_id": user_id, **body})

    async def books(self) -> Books:
        """Read and audit the workspace."""
        return await read_books(self.store_url, self.control.workspace)


@pytest.fixture
async def deployment(store_url: str, tmp_path: Path) -> AsyncIterator[Deployment]:
    """Run it with a block rule of one dollar a month, made through the control plane's API."""
    workspace = new_workspace()
    settings = {"workspace": workspace, "partitions": PARTITIONS, "rules_source": "store"}
    async with (
        control_plane(store_url, workspace=workspace, partitions=PARTITIONS) as control,
        open_session() as session,
    ):
        rule = {"key": "free", "limit_usd": 1, "action": "block", "window": "month"}
        created = await control.call("POST", "/api/v1/templates", rule)
        assert 201 == created.status, created.body
        manager = running_sidecars(2, tmp_path, store_url, None, **settings)
        sidecars = await asyncio.to_thread(manager.__enter__)
        try:
            await _until(lambda: _are_ready(session, sidecars))
            yield Deployment(control, sidecars, session, store_url)
        finally:
            await asyncio.to_thread(manager.__exit__, None, None, None)


async def _are_ready(session: aiohttp.ClientSession, sidecars: list[SidecarProcess]) -> bool:
    """Say whether all have rules: a store that was slow at their start may not have given them any yet."""
    for sidecar in sidecars:
        async with session.get(f"{sidecar.admin_url}/readyz") as response:
            if response.status != 200:
                return False
    return True


async def test_every_user_has_one_exact_counter(deployment: Deployment) -> None:
    """Each of many users, spread over partitions, spends exactly the limit through two sidecars at once."""
    calls = [
        (f"{deployment.sidecars[number % 2].url}/v1/check", {"user_id": user, "tier": "free", "cost_usd": 0.25})
        for user in USERS
        for number in range(8)
    ]
    answers = await ask_all(deployment.session, calls)
    books = await deployment.books()

    assert len({partition_of(user, PARTITIONS) for user in USERS}) == PARTITIONS
    assert [] == [answer for answer in answers if not answer.is_exact]
    assert 4 * len(USERS) == sum(answer.document["allowed"] for answer in answers)
    assert {LIMIT_NANOS} == {books.spend(user)["month"] for user in USERS}
    assert [] == books.report.differences


async def test_holds_end_and_replays_are_replays(deployment: Deployment) -> None:
    """Reserve, settle and both again, through whichever sidecar; catches state that one of them keeps for itself."""
    for user in USERS[:8]:
        hold = {"request_id": f"hold-{user}", "tier": "free", "estimate_usd": 0.5}
        settle = {"request_id": f"hold-{user}", "cost_usd": 0.25}
        reserved = [await deployment.ask_for(user, "reserve", **hold) for _ in range(2)]
        settled = [await deployment.ask_for(user, "settle", **settle) for _ in range(2)]
        usage = await deployment.session.get(f"{deployment.sidecars[0].url}/v1/usage/{user}")

        assert [False, True] == [answer.document["replayed"] for answer in reserved]
        assert [False, True] == [answer.document["replayed"] for answer in settled]
        assert {0.25} == {window["spend_usd"] for window in (await usage.json())["windows"]}
    books = await deployment.books()

    assert (0, 8, []) == (books.report.open_holds, len(books.snapshot.records), books.report.differences)


async def test_rules_reach_sidecars_and_reports_reach_the_page(deployment: Deployment) -> None:
    """A raised limit unblocks, and the page shows both sidecars on its revision."""
    control = deployment.control
    await deployment.ask_for("ada", "check", tier="free", cost_usd=1)
    (rule,) = (await control.call("GET", "/api/v1/templates")).document["items"]
    raise_by = {"key": "free", "limit_usd": 2, "action": "block", "window": "month"}
    match = {"If-Match": f'"{rule["revision"]}"'}
    raised = await control.call("PUT", f"/api/v1/templates/{rule['id']}", raise_by, headers=match)
    assert 200 == raised.status, raised.body

    async def is_raised() -> bool:
        return bool((await deployment.ask_for("ada", "check", tier="free", cost_usd=1)).document["allowed"])

    async def are_both_current() -> bool:
        return bool((await control.call("GET", "/api/v1/sidecars")).document["current"] == 2)

    await _until(is_raised)
    await _until(are_both_current)


async def _until(is_so: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not await is_so():  # noqa: ASYNC110 - what is awaited sends no event
            await asyncio.sleep(0.02)


async def test_the_log_and_the_totals_are_whole(deployment: Deployment) -> None:
    """Blocked calls of all partitions stand in one log, and the tier's total is the sum over all."""
    control = deployment.control
    for user in USERS:
        await deployment.ask_for(user, "check", tier="free", cost_usd=0.25)
        await deployment.ask_for(user, "check", tier="free", cost_usd=2)
    log = (await control.call("GET", "/api/v1/events?limit=100&type=blocked")).document["items"]
    tiers = (await control.call("GET", "/api/v1/tiers")).document["items"]
    (total,) = {window["spend_usd"] for tier in tiers if tier["tier"] == "free" for window in tier["windows"]}

    assert sorted(USERS) == sorted(event["user_id"] for event in log)
    assert 0.25 * len(USERS) == total
