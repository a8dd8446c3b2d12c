"""The browser: a Chromium of the machine if it has one, else the one that ``playwright install chromium`` brought."""

import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from typing import Final

from playwright.async_api import Browser, async_playwright

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def installed_browser() -> str | None:
    """Return the path of the machine's own Chromium."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


@contextlib.asynccontextmanager
async def running_browser() -> AsyncIterator[Browser]:
    """Run a headless browser. Chromium refuses its sandbox to root, as whom containers often run."""
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=installed_browser(), args=arguments)
        try:
            yield browser
        finally:
            await browser.close()
