"""Prices on the page: which ones are in force, which ones were, and how output that is not known yet is estimated."""

import json

from playwright.async_api import Page, expect

from tests.e2e.stage import Stage
from tests.support.prices import price_of

BOOK = {"version": "prices of a test <b>1</b>", "built_at": "2026-01-31T00:00:00Z"}


async def _put_prices(stage: Stage, document: object) -> None:
    headers = {"Content-Type": "application/json"}
    async with stage.session.put(f"{stage.url}/api/v1/prices", data=json.dumps(document), headers=headers) as response:
        assert response.status == 200, await response.text()


async def test_the_page_tells_which_prices_are_in_force(page: Page, stage: Stage) -> None:
    """The settings name version and age, the trail what a change of prices was."""
    await page.goto("/settings")
    await expect(page.locator("#prices")).to_contain_text("There are none")

    await _put_prices(stage, {**BOOK, "models": [price_of(input_usd_per_million=1)]})
    await page.reload()
    await expect(page.locator("#prices")).to_contain_text("1 price, version prices of a test <b>1</b>, built ")
    await page.goto("/audit")
    await expect(page.locator("#audit")).to_contain_text("Prices none \u2192 prices of a test <b>1</b>")


async def test_the_workspace_s_estimate_is_chosen_on_the_page(page: Page, stage: Stage) -> None:
    """And what the mode switch keeps: a change of one setting resets no other."""
    await page.goto("/settings")
    await page.get_by_label("Output that is not known yet").select_option("p95")
    await page.get_by_role("button", name="Save settings").click()
    await page.get_by_role("dialog").get_by_role("button", name="Save settings").click()
    await expect(page.get_by_text("Saved.")).to_be_visible()
    await page.get_by_role("button", name="Stop all").click()
    await page.get_by_role("dialog", name="Stop every call?").get_by_role("button", name="Stop all").click()
    await expect(page.locator("#mode-notice")).to_contain_text("Everything is stopped")

    settings = await stage.get("settings")
    assert ("p95", "stop") == (settings["estimate"], settings["mode"])
