"""The page of spend by group, model and tier, in a real browser."""

import re
from pathlib import Path

from playwright.async_api import Page, expect

from tests.e2e.stage import Stage

ROWS = "#spend-table tbody tr"


async def filled(stage: Stage) -> None:
    """Calls of two groups, models and tiers, and one of a model without a price."""
    await stage.put_prices(**{"m-large": 2.0, "m-small": 0.5})
    for user_id in ("ann", "bob"):
        await stage.use(user_id, "m-large", tier="pro", group="search")
    await stage.use("ann", "m-small", tier="free", group="chat")
    await stage.use("ann", "unheard-of", tier="free")


async def test_what_was_used_is_added_up_by_group_model_and_tier(page: Page, stage: Stage) -> None:
    """Calls, tokens, cost, the cost of a call and its share, the dearest first."""
    await filled(stage)
    await page.goto("/")
    await page.get_by_role("link", name="Spend", exact=True).click()
    await expect(page.locator(ROWS)).to_have_count(3)
    await expect(page.locator(ROWS).first).to_have_text(re.compile(r"search.*2.*2,000,000.*0.*\$4\.00.*\$2\.00.*88"))
    await expect(page.locator(ROWS).last).to_contain_text("(none)")
    await expect(page.locator("#spend-sum")).to_contain_text("$4.50")

    await page.get_by_role("button", name="Tier", exact=True).click()
    await expect(page.get_by_role("heading", name="By tier")).to_be_visible()
    await expect(page.locator(ROWS).first).to_contain_text("pro")


async def test_models_without_a_price_stand_apart(page: Page, stage: Stage) -> None:
    """How often they were called, and what was charged for them; none, no panel."""
    await page.goto("/spend")
    await expect(page.locator("#spend-table .empty")).to_be_visible()
    await expect(page.locator("#unpriced")).to_be_hidden()
    await filled(stage)
    await page.reload()
    await expect(page.locator("#unpriced tbody tr")).to_have_text(re.compile(r"unheard-of.*1.*\$0\.00"))


async def test_the_view_is_its_address(page: Page, stage: Stage) -> None:
    """Dimension, days, search and order are shared by copying the address; the export is of what is shown."""
    await filled(stage)
    await page.goto("/spend?spend.by=model&spend.days=7&spend.sort=name&spend.order=asc")
    await expect(page.locator(ROWS).first).to_contain_text("m-large")
    await expect(page.get_by_role("columnheader", name="Name")).to_have_attribute("aria-sort", "ascending")
    await expect(page.locator("#spend-export")).to_have_attribute("href", "/api/v1/breakdown.csv?by=model&days=7")
    await page.get_by_label("Find a name").fill("small")
    await expect(page.locator(ROWS)).to_have_count(1)
    await expect(page).to_have_url(re.compile(r"spend\.q=small"))


async def test_everything_is_reached_by_keyboard(page: Page, stage: Stage) -> None:
    """Sorting keeps the focus where it was, so that it can be turned at once."""
    await filled(stage)
    await page.goto("/spend?spend.by=model")
    await expect(page.locator(ROWS)).to_have_count(3)
    calls = page.get_by_role("button", name="Calls")
    heading = page.locator("#spend-table").get_by_role("columnheader", name="Calls")
    await calls.focus()
    await page.keyboard.press("Enter")
    await expect(heading).to_have_attribute("aria-sort", "descending")
    await expect(calls).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(heading).to_have_attribute("aria-sort", "ascending")
    await page.get_by_role("button", name="Group", exact=True).focus()
    await page.keyboard.press("Space")
    await expect(page.get_by_role("heading", name="By group", exact=True)).to_be_visible()


async def test_the_export_is_a_file(page: Page, stage: Stage, tmp_path: Path) -> None:
    """What finance asks for."""
    await filled(stage)
    await page.goto("/spend")
    async with page.expect_download() as download:
        await page.get_by_role("link", name="Export CSV").click()
    target = tmp_path / (await download.value).suggested_filename
    await (await download.value).save_as(target)
    assert ("spend-by-group.csv", True) == (target.name, '"search"' in target.read_text())
