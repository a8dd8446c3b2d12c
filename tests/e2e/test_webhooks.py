"""The webhooks on the settings page: how they fare, and a test message."""

from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from tests.e2e.stage import Stage, running_stage
from tests.support.webhook_receiver import Receiver, webhook_receiver


@pytest_asyncio.fixture(loop_scope="session")
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver on loopback."""
    async with webhook_receiver() as receiver:
        yield receiver


@pytest_asyncio.fixture(loop_scope="session")
async def stage(valkey_url: str, tmp_path: Path, receiver: Receiver) -> AsyncIterator[Stage]:
    """A workspace with one webhook."""
    path = tmp_path / "webhooks.yaml"
    path.write_bytes(orjson.dumps({"webhooks": [{"name": "finance", "url": receiver.url}]}))
    async with running_stage(valkey_url, tmp_path, webhooks=str(path)) as running:
        yield running


async def test_a_test_message_is_sent_from_the_page(page: Page, receiver: Receiver) -> None:
    """A receiver that fails is shown with its reason, one that takes the message as working."""
    receiver.statuses = [404]
    await page.goto("/settings")
    row = page.locator("#webhooks tbody tr")
    await expect(row).to_contain_text("Working")
    await page.get_by_role("button", name="Send a test to finance").click()
    await expect(row).to_contain_text("the receiver answered 404")
    await page.get_by_role("button", name="Send a test to finance").click()
    await expect(row).to_contain_text("Working")
    assert [note["kind"] for note in receiver.notes] == ["test"]
    results = await Axe().run(page)
    assert 0 == results.violations_count, results.generate_report()


async def test_a_blocked_call_is_told_and_counted(page: Page, stage: Stage, receiver: Receiver) -> None:
    """From the app's call to the receiver and the page."""
    await stage.create("templates", "free", limit_usd=1, action="block", window="day")
    assert await stage.check("user-1", 2, "free") == "block"
    await receiver.until(notes=1)
    await page.goto("/settings")
    await expect(page.locator("#webhooks tbody tr")).to_contain_text("blocked")
    assert receiver.notes[0]["event"]["user_id"] == "user-1"
