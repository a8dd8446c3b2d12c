"""The reading half in the whole control plane: who may ask, who is named, what is told live, how it ends."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
import pytest
import redis.asyncio

from controlplane import listeners
from ledger.keys import PartitionKeys
from tests.support.control_plane import PUSH_TOKEN, READ_TOKEN, TOKENS, WRITE_TOKEN, ControlPlane, control_plane
from tests.support.event_streams import event_fields
from tests.support.sse import event_source

LISTS = ("events", "events.csv", "users/ann", "users/ann/days", "usage?user_id=ann", "tiers", "dry-run", "sidecars")
CORRECTION = {"request_id": "once", "usd": 2, "note": "forgotten"}
STOP_S = 40.0
FOR_EVER_S = 600.0


@pytest.fixture
async def guarded(store_url: str) -> AsyncIterator[ControlPlane]:
    """A control plane with a token for each scope."""
    async with control_plane(store_url, **TOKENS) as control:
        yield control


@pytest.fixture
async def local(store_url: str) -> AsyncIterator[ControlPlane]:
    """A control plane on loopback that asks nobody for a token."""
    async with control_plane(store_url) as control:
        yield control


@pytest.mark.parametrize("path", LISTS)
async def test_reading_needs_the_scope_read(guarded: ControlPlane, path: str) -> None:
    """Read and write may; push and nobody may not."""
    statuses = [
        (await guarded.call("GET", f"/api/v1/{path}", token=token)).status
        for token in (READ_TOKEN, WRITE_TOKEN, PUSH_TOKEN, None)
    ]

    assert [200, 200, 403, 401] == statuses


async def test_adjusting_needs_the_scope_write_and_names_the_actor(guarded: ControlPlane) -> None:
    """The event tells who, as far as the control plane knows."""
    path = "/api/v1/users/ann/adjust"
    statuses = [
        (await guarded.call("POST", path, CORRECTION, token=token)).status
        for token in (READ_TOKEN, PUSH_TOKEN, None, WRITE_TOKEN)
    ]
    events = await guarded.call("GET", "/api/v1/events?type=adjusted", token=READ_TOKEN)

    assert [403, 403, 401, 200] == statuses
    assert [{"actor": "write token", "note": "forgotten"}] == [event["meta"] for event in events.document["items"]]


async def test_a_stream_is_guarded_and_has_every_security_header(guarded: ControlPlane) -> None:
    """A stream is an answer like any other."""
    refused = await guarded.call("GET", "/api/v1/events/stream", token=PUSH_TOKEN)
    headers = {"Authorization": f"Bearer {READ_TOKEN}"}
    async with guarded.session.get(f"{guarded.url}/api/v1/events/stream", headers=headers) as response:
        assert (403, 200) == (refused.status, response.status)
        assert {"nosniff", "no-store"} <= set(response.headers.values())
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]
        response.close()


async def test_a_changed_rule_and_a_new_event_are_told_live(local: ControlPlane, store_url: str) -> None:
    """An open page hears of both on one stream."""
    async with event_source(local.session, local.url) as source:
        await source.wait_for_id()
        before = (await source.next("rules")).data["revision"]
        body = {"key": "free", "limit_usd": 5}
        assert (await local.call("POST", "/api/v1/templates", body)).status == 201
        after = (await source.next("rules")).data["revision"]
        async with redis.asyncio.Redis.from_url(store_url) as client:
            await client.xadd(PartitionKeys.of(local.workspace, 0).events, event_fields(request="live"))
        (event,) = await source.enforcement(1)

    assert (before + 1, "live") == (after, event.data["request_id"])


async def test_a_control_plane_stops_although_readers_stay(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Open streams end with it by themselves, not because nobody waits for them any longer."""
    monkeypatch.setattr(listeners, "SHUTDOWN_S", FOR_EVER_S)
    loop, serving = asyncio.get_running_loop(), contextlib.AsyncExitStack()
    control = await serving.enter_async_context(control_plane(store_url))
    async with aiohttp.ClientSession() as reader, event_source(reader, control.url) as source:
        await source.wait_for_id()
        started_s = loop.time()
        await serving.aclose()

        assert [] == await source.enforcement(1)
    assert loop.time() - started_s < STOP_S


async def test_a_parameter_is_checked_before_the_log_is_read(local: ControlPlane) -> None:
    """As in the parts."""
    answer = await local.call("GET", "/api/v1/events?usr=ann")

    assert (400, "invalid_field") == (answer.status, answer.code)
