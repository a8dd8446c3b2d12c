"""One browser for all tests, a workspace with page and sidecar for each, and tabs that must not complain."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, expect

from tests.e2e.browser import running_browser
from tests.e2e.stage import DEADLINE_S, Stage, running_stage

VIEWPORT: Final = {"width": 1360, "height": 900}
TOLERATED: Final = ("Failed to load resource", "net::ERR_")
"""Answers that tests provoke (412, 422, a stopped control plane); everything else in the console fails a test."""

expect.set_options(timeout=DEADLINE_S * 1000)


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def browser() -> AsyncIterator[Browser]:
    """A headless Chromium."""
    async with running_browser() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def stage(valkey_url: str, tmp_path: Path) -> AsyncIterator[Stage]:
    """An empty workspace on plan growth, open to this machine, with one sidecar."""
    async with running_stage(valkey_url, tmp_path) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser, stage: Stage) -> AsyncIterator[BrowserContext]:
    """A browser profile of its own. What a script or the policy of the page complains about fails the test."""
    complaints: list[str] = []
    opened = await browser.new_context(viewport=VIEWPORT, base_url=stage.url)
    opened.set_default_timeout(DEADLINE_S * 1000)
    opened.on("weberror", lambda error: complaints.append(str(error.error)))
    opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    opened.on("dialog", lambda dialog: complaints.append(f"a script opened a dialog: {dialog.message}"))
    yield opened
    await opened.close()
    assert [] == [text for text in complaints if not any(known in text for known in TOLERATED)]


@pytest_asyncio.fixture(loop_scope="session")
async def page(context: BrowserContext) -> Page:
    """A tab."""
    return await context.new_page()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run every test of this folder on the loop of the browser."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
