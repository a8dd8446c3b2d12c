"""The control plane dies, the sidecar does not care; when another one is there, both converge without help."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.apps import ask, open_session
from tests.support.books import new_workspace
from tests.support.control_process import control_plane_process
from tests.support.processes import running_sidecar

WITHIN_S = 60.0
POLL_S = 0.02


async def _put(session: aiohttp.ClientSession, method: str, url: str, **options: Any) -> Any:
    async with session.request(method, url, **options) as response:
        assert response.status in {200, 201}, await response.text()
        return await response.json()


async def _check(session: aiohttp.ClientSession, url: str) -> Any:
    body = {"user_id": "ada", "tier": "free", "cost_usd": 2}
    return (await ask(session, f"{url}/v1/check", body)).document


async def _decided(session: aiohttp.ClientSession, url: str, revision: int) -> Any:
    """Ask until the rules of a revision decide; return that decision."""
    async with asyncio.timeout(WITHIN_S):
        while (decision := await _check(session, url))["rules_revision"] != revision:  # noqa: ASYNC110 - it is asked
            await asyncio.sleep(POLL_S)
        return decision


async def test_a_killed_control_plane_takes_no_rule_with_it(tmp_path: Path, valkey_url: str) -> None:
    """Rules hold without it, also across the sidecar's restart, and the next control plane goes on from there."""
    workspace = new_workspace()
    template = {"key": "free", "limit_usd": 1, "window": "month", "action": "block"}
    async with open_session() as session:
        with control_plane_process(valkey_url, workspace) as (_, api):
            created = await _put(session, "POST", f"{api}/templates", json=template)
            with running_sidecar(tmp_path, valkey_url, None, workspace=workspace) as sidecar:
                first = await _decided(session, sidecar.url, 1)
        with running_sidecar(tmp_path, valkey_url, None, workspace=workspace) as sidecar:
            alone = await _check(session, sidecar.url)
            with control_plane_process(valkey_url, workspace) as (_, api):
                await _put(
                    session,
                    "PUT",
                    f"{api}/templates/{created['id']}",
                    json={**template, "limit_usd": 3},
                    headers={"If-Match": '"1"'},
                )
                raised = await _decided(session, sidecar.url, 2)

    assert [("block", 1), ("block", 1), ("allow", 2)] == [
        (answer["decision"], answer["rules_revision"]) for answer in (first, alone, raised)
    ]
