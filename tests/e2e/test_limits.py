"""From the modal to the next call: what an operator sets in the page is what the sidecar does."""

from playwright.async_api import Locator, Page, expect

from tests.e2e.stage import Stage


async def create_template(page: Page, tier: str, limit: str, action: str) -> None:
    """Fill in the modal and save."""
    await page.get_by_role("button", name="+ New template").first.click()
    dialog = page.get_by_role("dialog", name="New template")
    await dialog.get_by_label("Tier", exact=True).fill(tier)
    await dialog.get_by_label("Spend limit").fill(limit)
    await dialog.get_by_role("radio", name=action, exact=True).check()
    await dialog.get_by_role("button", name="Create template").click()
    await expect(dialog).to_be_hidden()


def log_rows(page: Page, user_id: str) -> Locator:
    """Return the rows of the log that name a user."""
    return page.locator("#log tbody tr[data-id]").filter(has_text=user_id)


async def test_a_limit_set_in_the_page_blocks_the_next_call_and_a_raise_lets_it_through(
    page: Page, stage: Stage
) -> None:
    """The template blocks at once, the event appears in the open log by itself, and a raised limit unblocks."""
    await page.goto("/")
    await create_template(page, "free", "1", "Block")
    await stage.converged()

    assert "allow" == await stage.check("user-1", 0.75, "free")
    assert "block" == await stage.check("user-1", 0.75, "free")
    row = log_rows(page, "user-1")
    await expect(row).to_have_count(1)
    await expect(row).to_contain_text("Blocked")
    await expect(row).to_contain_text("$0.75")

    await page.get_by_role("button", name="Edit template for free (month)").click()
    dialog = page.get_by_role("dialog", name="Edit template")
    await dialog.get_by_label("Spend limit").fill("10")
    await dialog.get_by_role("button", name="Save changes").click()
    await expect(page.locator("#templates tbody")).to_contain_text("$10.00")
    await stage.converged()

    assert "allow" == await stage.check("user-1", 0.75, "free")


async def test_the_modal_starts_with_warn_at_80_percent_and_says_why(page: Page) -> None:
    """Warn is preselected, with the advice to begin there and what Block needs."""
    await page.goto("/")
    await page.get_by_role("button", name="+ New override").first.click()
    dialog = page.get_by_role("dialog", name="New override")

    await expect(dialog.get_by_role("radio", name="Warn", exact=True)).to_be_checked()
    await expect(dialog.get_by_label("Alert threshold")).to_have_value("80")
    await expect(dialog.get_by_label("Window", exact=True)).to_have_value("month")
    await expect(dialog).to_contain_text("Start with Warn")
    await expect(dialog).to_contain_text("Block needs an app that asks its sidecar before each call")


async def test_a_template_can_be_made_with_the_keyboard_alone(page: Page) -> None:
    """Tab, letters, arrows and Enter are enough; the focus starts in the first field and comes back to the button."""
    await page.goto("/")
    opener = page.locator("#templates [data-role=new]")
    await opener.focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_label("Tier", exact=True)).to_be_focused()
    await page.keyboard.type("keyed")
    await page.keyboard.press("Tab")
    await page.keyboard.type("12.50")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Tab")
    await page.keyboard.press("d")
    await page.keyboard.press("Tab")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")

    row = page.locator("#templates tbody tr")
    await expect(row).to_contain_text("keyed")
    await expect(row).to_contain_text("$12.50")
    await expect(row).to_contain_text("Day")
    await expect(row).to_contain_text("Block")
    await expect(opener).to_be_focused()


async def test_of_two_tabs_that_edit_one_rule_the_second_is_told(page: Page, stage: Stage) -> None:
    """The second save changes nothing; it says who changed what, and either side can be kept."""
    await stage.create("overrides", "user-1", limit_usd=10)
    second = await page.context.new_page()
    for tab in (page, second):
        await tab.goto("/")
        await tab.get_by_role("button", name="Edit override for user-1 (month)").click()
        await expect(tab.get_by_label("Spend limit")).to_have_value("10")
    await page.get_by_label("Spend limit").fill("20")
    await page.get_by_role("button", name="Save changes").click()
    await expect(page.locator("#overrides tbody")).to_contain_text("$20.00")

    await second.get_by_label("Spend limit").fill("30")
    await second.get_by_role("button", name="Save changes").click()

    conflict = second.get_by_role("alert").filter(has_text="changed while you were editing")
    await expect(conflict).to_contain_text("was $10.00, is now $20.00; yours: $30.00")
    assert 20 == (await stage.get("overrides"))["items"][0]["limit_usd"]
    await conflict.get_by_role("button", name="Save mine over it").click()
    await expect(second.locator("#overrides tbody")).to_contain_text("$30.00")
    assert 30 == (await stage.get("overrides"))["items"][0]["limit_usd"]


async def test_what_is_wrong_is_said_at_its_field_and_nothing_is_saved(page: Page, stage: Stage) -> None:
    """A limit that is no amount keeps the modal open, marks the field and takes the focus there."""
    await page.goto("/")
    await page.get_by_role("button", name="+ New template").first.click()
    await page.get_by_label("Tier", exact=True).fill("free")
    await page.get_by_label("Spend limit").fill("a lot")
    await page.get_by_role("button", name="Create template").click()

    limit = page.get_by_label("Spend limit")
    await expect(limit).to_have_attribute("aria-invalid", "true")
    await expect(limit).to_be_focused()
    await expect(page.locator("#rule-faults")).to_contain_text("Spend limit")
    assert 0 == (await stage.get("templates"))["total"]


async def test_a_rule_is_disabled_and_deleted_only_after_a_confirmation(page: Page, stage: Stage) -> None:
    """Cancel leaves the rule; confirming disables it, then deletes it, and the notes are in the audit trail."""
    await stage.create("overrides", "user-1", limit_usd=0, action="block")
    await page.goto("/")
    await page.get_by_role("button", name="Delete override for user-1 (month)").click()
    dialog = page.locator("#confirm-dialog")
    await dialog.get_by_role("button", name="Cancel").click()
    assert 1 == (await stage.get("overrides"))["total"]

    await page.get_by_role("button", name="Disable override for user-1 (month)").click()
    await dialog.get_by_label("Why?").fill("paused for the audit")
    await dialog.get_by_role("button", name="Disable").click()
    await expect(page.locator("#overrides tbody")).to_contain_text("Disabled")
    await stage.converged()
    assert "allow" == await stage.check("user-1", 1)

    await page.get_by_role("button", name="Delete override for user-1 (month)").click()
    await dialog.get_by_role("button", name="Delete").click()
    await expect(page.locator("#overrides")).to_contain_text("No user has a limit of their own")
    await page.goto("/audit")
    await expect(page.locator("#audit")).to_contain_text("paused for the audit")
    await expect(page.locator("#audit")).to_contain_text("Deleted override for user-1")


async def test_an_edit_keeps_what_a_rule_takes_from_elsewhere(page: Page, stage: Stage) -> None:
    """What follows from the action follows from the new one: a rule that blocks denies when the store is away."""
    row = await stage.create("templates", "free", limit_usd=5, action="warn")
    await page.goto("/")
    await page.get_by_role("button", name="Edit template for free (month)").click()
    await page.get_by_role("radio", name="Block", exact=True).check()
    await page.get_by_role("button", name="Save changes").click()
    await expect(page.locator("#templates tbody")).to_contain_text("Block")

    after = await stage.get(f"templates/{row['id']}")
    assert ("allow", "deny") == (row["on_store_failure"], after["on_store_failure"])
    assert row["inherited"] == after["inherited"]
