"""A control plane without its store: before it is there, and after it is gone. It says so, and comes back by itself."""

import asyncio
import time
from pathlib import Path

from tests.support.control_plane import ControlPlane, control_plane
from tests.support.stores import ALWAYS, StoreProcess, store_process

DEADLINE_S = 60.0
POLL_S = 0.01
SEED = "rules:\n  - {kind: tier_template, key: free, limit_usd: 1, action: block}\n"
TEMPLATES = "/api/v1/templates"


async def _until(control: ControlPlane, path: str, status: int) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while (await control.call("GET", path)).status != status:
        assert time.monotonic() < deadline, f"{path} never answered {status}"
        await asyncio.sleep(POLL_S)


async def test_a_start_without_the_store_shows_no_empty_lists(tmp_path: Path) -> None:
    """503 until the rules were read: then they are there, those of the seed."""
    seed = tmp_path / "seed.yaml"
    await asyncio.to_thread(seed.write_text, SEED)
    with store_process(started=False) as store:
        async with control_plane(store.url, seed=seed) as control:
            refused = await control.call("GET", TEMPLATES)
            assert (503, "store_unavailable") == (refused.status, refused.code)
            created = await control.call("POST", TEMPLATES, {"key": "pro", "limit_usd": 1})
            assert (503, "store_unavailable") == (created.status, created.code)
            assert [200, 503] == [(await control.admin(path)).status for path in ("/livez", "/readyz")]
            assert 200 == (await control.call("GET", "/api/v1/session")).status
            await asyncio.to_thread(store.start)
            await _until(control, TEMPLATES, 200)
            deadline = time.monotonic() + DEADLINE_S
            while not (page := (await control.call("GET", TEMPLATES)).document)["items"]:
                assert time.monotonic() < deadline, "the seed never came"
                await asyncio.sleep(POLL_S)
            assert (["free"], 200) == (
                [row["key"] for row in page["items"]],
                (await control.admin("/readyz")).status,
            )


async def test_rules_are_shown_without_spend_while_the_store_is_gone() -> None:
    """Nothing can be changed or sorted by spend meanwhile; afterwards all is as it was."""
    with store_process(appendfsync=ALWAYS) as store:
        async with control_plane(store.url) as control:
            assert 201 == (await control.call("POST", TEMPLATES, {"key": "pro", "limit_usd": 1})).status
            await asyncio.to_thread(store.kill)
            page = await control.call("GET", TEMPLATES)
            assert (200, False, None) == (
                page.status,
                page.document["has_spend"],
                page.document["items"][0]["spend_usd"],
            )
            for method, path, body in (
                ("POST", TEMPLATES, {"key": "free", "limit_usd": 1}),
                ("GET", f"{TEMPLATES}?sort=percent", None),
                ("GET", "/api/v1/audit", None),
                ("GET", "/api/v1/events", None),
            ):
                refused = await control.call(method, path, body)
                assert (503, "store_unavailable") == (refused.status, refused.code), path
            await _back(store, control)


async def _back(store: StoreProcess, control: ControlPlane) -> None:
    await asyncio.to_thread(store.start)
    await _until(control, f"{TEMPLATES}?sort=percent", 200)
    assert 201 == (await control.call("POST", TEMPLATES, {"key": "free", "limit_usd": 1})).status
    page = (await control.call("GET", TEMPLATES)).document
    assert (["free", "pro"], True) == ([row["key"] for row in page["items"]], page["has_spend"])
