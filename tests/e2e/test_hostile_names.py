"""Names made to break a page are shown as the text they are, wherever they appear."""

from urllib.parse import quote

from playwright.async_api import Page, expect

from tests.e2e.stage import Stage
from tests.support.hostile_names import HOSTILE_NAMES


async def test_hostile_names_are_text_in_every_panel(page: Page, stage: Stage) -> None:
    """As tier, user id and note they stand there letter for letter; no script runs, no element comes of them."""
    for name in HOSTILE_NAMES:
        await stage.create("overrides", name, limit_usd=0, action="block", note=name)
        await stage.create("templates", name, limit_usd=1)
        await stage.check(name, 1, name)
    await page.goto("/")
    rows = page.locator("#log tbody tr[data-id]")
    await expect(rows).to_have_count(len(HOSTILE_NAMES))

    users: list[str] = await page.locator("#log tbody tr[data-id] td:nth-child(2) bdi").evaluate_all(
        "cells => cells.map((cell) => cell.textContent)"
    )
    tiers: list[str] = await page.locator("#log tbody tr[data-id] td:nth-child(7) bdi").evaluate_all(
        "cells => cells.map((cell) => cell.textContent)"
    )
    assert list(reversed(HOSTILE_NAMES)) == users == tiers
    assert 0 == await page.locator("main img, main script, main iframe").count()


async def test_each_hostile_user_has_a_page_of_their_own(page: Page, stage: Stage) -> None:
    """The address of a user's page holds any id; the page names exactly that user and knows what was spent."""
    for name in HOSTILE_NAMES:
        await stage.check(name, "1.25", "free")
        await page.goto(f"/users/{quote(name, safe='')}")
        await expect(page.locator("#windows")).to_contain_text("$1.25")
        assert name == await page.locator("h1").evaluate("heading => heading.textContent")
        assert 0 == await page.locator("main img, main script, main iframe").count()


async def test_what_is_searched_is_only_text(page: Page, stage: Stage) -> None:
    """A filter from a link is put into its field, and nowhere else."""
    await stage.create("templates", "free", limit_usd=1)
    await page.goto(f"/?templates.q={quote('<img src=x onerror=alert(1)>')}&log.q={quote('<script>alert(1)</script>')}")

    await expect(page.get_by_label("Find a tier")).to_have_value("<img src=x onerror=alert(1)>")
    await expect(page.locator("#templates")).to_contain_text("Nothing matches these filters")
    assert 0 == await page.locator("main img, main script").count()
