"""Webhooks of a whole control plane: from a blocked call to the receiver, health, and what the page is told."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from controlplane import webhooks
from ledger.connection import StoreTimeouts, connect
from ledger.errors import InvalidInput
from ledger.heartbeats import Heartbeats, SidecarReport
from tests.support.control_plane import ControlPlane, control_plane
from tests.support.event_streams import event_fields
from tests.support.webhook_receiver import Receiver, webhook_receiver

DEADLINE_S = 60.0


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver on loopback."""
    async with webhook_receiver() as receiver:
        yield receiver


def _file(directory: Path, receiver: Receiver, **changes: Any) -> Path:
    path = directory / "webhooks.yaml"
    path.write_bytes(orjson.dumps({"webhooks": [{"name": "ops", "url": receiver.url} | changes]}))
    return path


async def _webhook(control: ControlPlane) -> dict[str, Any]:
    answer = await control.call("GET", "/api/v1/webhooks")
    assert answer.status == 200
    (item,) = answer.document["items"]
    return dict(item)


async def test_an_event_reaches_the_receiver(store_url: str, receiver: Receiver, tmp_path: Path) -> None:
    """And the page shows it as delivered; the scrape as well."""
    async with control_plane(store_url, webhooks=_file(tmp_path, receiver)) as control:
        client = connect(store_url, StoreTimeouts(connect_ms=10_000, command_ms=10_000))
        assert (await _webhook(control))["delivered"] == 0
        await client.xadd(f"sg:{control.workspace}:{{0}}:events", event_fields())  # type: ignore[arg-type]
        await client.aclose()
        await receiver.until(notes=1)
        shown = await _webhook(control)
        async with asyncio.timeout(DEADLINE_S):
            while shown["delivered"] == 0:
                shown = await _webhook(control)
        metrics = (await control.admin("/metrics")).body.decode()
    assert ("127.0.0.1", False, None) == (shown["host"].partition(":")[0], shown["signed"], shown["failing_since"])
    assert 'spendgate_control_webhook_messages_total{result="delivered",webhook="ops"} 1.0' in metrics


async def test_a_test_message_is_sent_when_asked(store_url: str, receiver: Receiver, tmp_path: Path) -> None:
    """Its failure is told to who asked."""
    async with control_plane(store_url, webhooks=_file(tmp_path, receiver, format="slack")) as control:
        good = await control.call("POST", "/api/v1/webhooks/ops/test")
        receiver.statuses = [403]
        bad = await control.call("POST", "/api/v1/webhooks/ops/test")
        missing = await control.call("POST", "/api/v1/webhooks/none/test")
    assert (200, 502, 404) == (good.status, bad.status, missing.status)
    assert ("webhook_failed", "webhook_not_found") == (bad.code, missing.code)
    assert "This is a test." in receiver.messages[0]["text"]


async def test_a_sidecar_without_the_store_is_told_once(
    store_url: str, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By one of two control planes, after two looks; its recovery as well."""
    monkeypatch.setattr(webhooks, "LOOK_S", 0.05)
    path = _file(tmp_path, receiver, events=["store_lost", "store_back"])
    async with (
        control_plane(store_url, webhooks=path) as first,
        control_plane(store_url, webhooks=path, workspace=first.workspace),
    ):
        client = connect(store_url, StoreTimeouts(connect_ms=10_000, command_ms=10_000))
        heartbeats = Heartbeats(client, workspace=first.workspace)
        await heartbeats.report(_report(store_ok=False))
        await receiver.until(notes=1)
        await heartbeats.report(_report(store_ok=True))
        await receiver.until(notes=2)
        await client.aclose()
    told = {note["id"]: note["kind"] for note in receiver.notes}  # an attempt that timed out may have arrived as well
    assert list(told.values()) == ["store_lost", "store_back"]
    assert "pod-1" in receiver.notes[0]["text"]


def _report(*, store_ok: bool) -> SidecarReport:
    return SidecarReport(
        id="sidecar-1",
        version="1",
        host="pod-1",
        revision=1,
        epoch="e",
        store_ok=store_ok,
        started_ms=1,
        rules_source="store",
    )


async def test_a_faulty_file_makes_a_start_impossible(store_url: str, receiver: Receiver, tmp_path: Path) -> None:
    """Every fault is named."""
    path = _file(tmp_path, receiver, format="xml", events=[])
    with pytest.raises(InvalidInput) as refused:
        async with control_plane(store_url, webhooks=path):
            pass
    assert "webhooks[0].format" in str(refused.value)
    assert "webhooks[0].events" in str(refused.value)


async def test_without_a_file_nobody_is_told(store_url: str) -> None:
    """The list is empty."""
    async with control_plane(store_url) as control:
        assert (await control.call("GET", "/api/v1/webhooks")).document == {"items": []}
