"""The other pages and panels: user, dry run, audit, settings, sidecars, import, filters, the plan gate, signing in."""

from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.async_api import Browser, Page, expect

from tests.e2e.stage import DEADLINE_S, Stage, running_stage

READ_TOKEN = "a-token-that-may-only-read"
WRITE_TOKEN = "a-token-that-may-change-all"


async def test_a_user_has_budgets_reasons_days_holds_and_events(page: Page, stage: Stage) -> None:
    """The user's page says what was spent, what is held, which rule applies and which was skipped."""
    await stage.create("templates", "free", limit_usd=5, action="block")
    await stage.create("overrides", "user-1", limit_usd=10, action="block")
    await stage.check("user-1", 8.20, "free")
    await stage.decide("reserve", "user-1", request_id="open-1", estimate_usd=1, tier="free")
    await stage.check("user-1", 5, "free")
    await page.goto("/")
    await page.get_by_role("link", name="user-1").first.click()

    await expect(page.get_by_role("heading", level=1)).to_have_text("user-1")
    await expect(page.locator("#budgets")).to_contain_text("$8.20 of $10.00")
    await expect(page.locator("#why")).to_contain_text(
        "$5.00 a month, template for free, because an override replaces it"
    )
    await expect(page.locator("#holds")).to_contain_text("open-1")
    await expect(page.locator("#log tbody tr[data-id]").first).to_contain_text("Blocked")
    await expect(page.get_by_role("img", name="Spend by day")).to_be_visible()


async def test_a_credit_makes_room_at_once(page: Page, stage: Stage) -> None:
    """A credit takes from what was spent, once, and the next call goes through."""
    await stage.create("overrides", "user-1", limit_usd=10, action="block")
    await stage.check("user-1", 9)
    assert "block" == await stage.check("user-1", 5)
    await page.goto("/users/user-1")
    await page.get_by_role("button", name="Credit or correct").click()
    await page.get_by_label("Amount").fill("5")
    await page.get_by_role("textbox", name="Why?", exact=True).fill("refund for the outage")
    await page.get_by_role("button", name="Adjust").click()

    await expect(page.locator("#budgets")).to_contain_text("$4.00 of $10.00")
    assert "allow" == await stage.check("user-1", 5)


async def test_the_dry_run_report_counts_before_anyone_blocks(page: Page, stage: Stage) -> None:
    """Calls, users and USD are shown; after the switch the next call is refused."""
    await stage.create("templates", "free", limit_usd=1, action="dry_run")
    for user_id in ("user-1", "user-2"):
        for _ in range(2):
            await stage.check(user_id, 0.75, "free")
    await page.goto("/dry-run")
    row = page.locator("#dry-run-table tbody tr")
    await expect(row).to_contain_text("free")
    await expect(row.locator("td").nth(3)).to_have_text("2")
    await expect(row.locator("td").nth(4)).to_have_text("2")
    await expect(row).to_contain_text("$1.50")

    await page.get_by_role("button", name="Switch free to Block").click()
    await page.get_by_role("button", name="Switch to Block").last.click()
    await expect(page.locator("#dry-run-table")).to_contain_text("No rule is on dry run")
    await stage.converged()
    assert "block" == await stage.check("user-1", 0.75, "free")
    assert "deny" == (await stage.get("templates"))["items"][0]["on_store_failure"], "it follows from the action"


async def test_stop_refuses_every_call_after_a_confirmation(page: Page, stage: Stage) -> None:
    """The emergency switch asks first, acts within a second, and says so on the page."""
    await stage.create("templates", "free", limit_usd=100)
    await page.goto("/")
    await page.get_by_role("button", name="Stop all").click()
    dialog = page.get_by_role("dialog", name="Stop every call?")
    await dialog.get_by_role("button", name="Stop all").click()

    await expect(page.locator("#mode-notice")).to_contain_text("Everything is stopped")
    await stage.converged()
    assert "block" == await stage.check("user-1", 0.01, "free")
    await expect(page.locator("#log tbody")).to_contain_text("workspace stopped")


async def test_below_growth_the_page_offers_the_upgrade_in_place_of_the_panels(page: Page, stage: Stage) -> None:
    """No panel, no rule that acts; after the upgrade both are back."""
    await stage.create("templates", "free", limit_usd=0, action="block")
    await stage.put_settings(plan="starter")
    await stage.converged()
    assert "allow" == await stage.check("user-1", 1, "free")
    await page.goto("/")
    await expect(page.get_by_role("heading", name="Enforcement is part of the Growth plan")).to_be_visible()
    await expect(page.locator("#templates, #overrides, #log")).to_have_count(0)

    await page.get_by_role("button", name="Upgrade to Growth").click()
    await page.get_by_role("dialog").get_by_role("button", name="Upgrade to Growth").click()
    await expect(page.locator("#templates tbody")).to_contain_text("free")
    await stage.converged()
    assert "block" == await stage.check("user-1", 1, "free")


async def test_an_import_shows_what_it_would_do_before_it_does(page: Page, stage: Stage, tmp_path: Path) -> None:
    """A file with a fault imports nothing and says where; a good one is counted, then imported."""
    await stage.create("overrides", "user-1", limit_usd=10)
    bad, good = tmp_path / "bad.csv", tmp_path / "good.csv"
    bad.write_text("user_id,limit_usd\nuser-2,many\n")
    good.write_text('user_id,limit_usd,action\nuser-1,20,warn\nuser-2,30,block\n"a,b ""c""",40,warn\n')
    await page.goto("/")
    await page.get_by_role("button", name="Import CSV").click()
    dialog = page.get_by_role("dialog", name="Import overrides from CSV")
    await dialog.get_by_label("CSV file").set_input_files(bad)
    await expect(dialog).to_contain_text("Line 2")
    await expect(dialog.get_by_role("button", name="Import")).to_be_disabled()

    await dialog.get_by_label("CSV file").set_input_files(good)
    await expect(dialog).to_contain_text("2 new, 1 changed, 0 as they are.")
    await expect(dialog.locator("tbody tr").filter(has_text="user-1")).to_contain_text("Changed")
    await dialog.get_by_role("button", name="Import 3 overrides").click()
    await expect(page.locator("#overrides tbody tr")).to_have_count(3)
    await expect(page.locator("#overrides tbody")).to_contain_text('a,b "c"')
    await expect(page.locator("#overrides tbody")).to_contain_text("$20.00")


async def test_overrides_are_searched_sorted_and_paged_in_the_address(page: Page, stage: Stage) -> None:
    """Search, order and place survive a reload; a page whose last row is deleted gives way to the first one."""
    for number in range(12):
        await stage.create("overrides", f"user-{number:02}", limit_usd=100 - number)
    await page.goto("/")
    rows = page.locator("#overrides tbody tr")
    await expect(rows).to_have_count(10)
    await expect(rows.first).to_contain_text("user-00")
    await page.locator("#overrides").get_by_role("button", name="Next page").click()
    await expect(rows).to_have_count(2)
    await page.reload()
    await expect(rows).to_have_count(2)
    await page.go_back()
    await expect(rows).to_have_count(10)
    await page.go_forward()
    await expect(rows).to_have_count(2)
    for number in (10, 11):
        await page.get_by_role("button", name=f"Delete override for user-{number} (month)").click()
        await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        await expect(page.get_by_role("dialog")).to_have_count(0)
    await expect(rows).to_have_count(10)
    await expect(rows.first).to_contain_text("user-00")

    await page.locator("#overrides").get_by_role("button", name="Limit").click()
    await expect(rows.first).to_contain_text("user-00")
    await page.locator("#overrides").get_by_role("button", name="Limit").click()
    await expect(rows.first).to_contain_text("user-09")
    await expect(page.locator("#overrides th").nth(1)).to_have_attribute("aria-sort", "ascending")
    await page.get_by_label("Find a user ID").fill("user-07")
    await expect(rows).to_have_count(1)
    assert "overrides.q=user-07" in page.url
    await page.reload()
    await expect(rows).to_have_count(1)
    await expect(page.get_by_label("Find a user ID")).to_have_value("user-07")


async def test_an_earlier_revision_is_restored_from_the_audit_trail(page: Page, stage: Stage) -> None:
    """What was deleted is back, as a new revision, and the trail says so."""
    await stage.create("templates", "free", limit_usd=5)
    await stage.create("templates", "pro", limit_usd=50)
    await page.goto("/audit")
    await page.get_by_role("button", name="Restore revision 1", exact=True).click()
    await page.get_by_role("dialog").get_by_label("Why?").fill("pro was too early")
    await page.get_by_role("dialog").get_by_role("button", name="Restore").click()

    await expect(page.locator("#audit")).to_contain_text("pro was too early")
    await expect(page.locator("#audit")).to_contain_text("Deleted template for pro")
    assert ["free"] == [row["key"] for row in (await stage.get("templates"))["items"]]


async def test_settings_say_what_follows_before_they_are_saved(page: Page, stage: Stage) -> None:
    """A new time zone is confirmed, saved, and stands there after a reload."""
    await page.goto("/settings")
    await expect(page.get_by_label("Time zone")).to_have_value("UTC")
    await page.get_by_label("Time zone").fill("Europe/Berlin")
    await page.get_by_role("button", name="Save settings").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("begin at other moments")
    await dialog.get_by_role("button", name="Save settings").click()
    await expect(dialog).to_be_hidden()
    await page.reload()
    await expect(page.get_by_label("Time zone")).to_have_value("Europe/Berlin")


async def test_the_page_says_which_sidecars_have_the_newest_rules(page: Page, stage: Stage) -> None:
    """The bar of every page counts them, the page of sidecars lists them."""
    await stage.create("templates", "free", limit_usd=5)
    await page.goto("/sidecars")

    await expect(page.locator("#sidecars-chip")).to_have_text("1 of 1 sidecar on revision 1")
    await expect(page.locator("#sidecars tbody tr")).to_contain_text("Up to date")


async def test_a_tier_without_a_template_is_offered_one(page: Page, stage: Stage) -> None:
    """What apps send and no template names is listed, and one press opens the modal with its name."""
    await stage.check("user-1", 3, "enterprise")
    await page.goto("/")
    await page.get_by_role("button", name="enterprise $3.00 this month").click()

    await expect(page.get_by_role("dialog", name="New template").get_by_label("Tier", exact=True)).to_have_value(
        "enterprise"
    )


async def test_the_theme_is_chosen_and_kept(page: Page) -> None:
    """The choice is in the first byte of the next page, so nothing flashes."""
    await page.goto("/")
    await page.get_by_role("button", name="Dark").click()
    await page.reload()
    assert "dark" == await page.evaluate("getComputedStyle(document.documentElement).colorScheme")


@pytest.mark.parametrize("width", [360, 768, 1360])
async def test_no_page_is_wider_than_its_window(page: Page, stage: Stage, width: int) -> None:
    """A long name wraps; nothing has to be scrolled sideways, on a phone neither."""
    await stage.create("overrides", "x" * 256, limit_usd=1)
    await stage.check("x" * 256, 3, "y" * 256)
    await page.set_viewport_size({"width": width, "height": 800})
    for path in ("/", f"/users/{'x' * 256}", "/dry-run", "/audit", "/sidecars", "/settings"):
        await page.goto(path)
        await expect(page.locator("#sidecars-chip")).to_be_visible()
        assert 0 >= await page.evaluate("document.documentElement.scrollWidth - innerWidth"), path


async def test_who_may_only_read_signs_in_and_finds_nothing_to_press(
    browser: Browser, valkey_url: str, tmp_path: Path
) -> None:
    """Pages lead to the sign-in and back; a wrong token is told; with the read token nothing can be changed."""
    async with (
        running_stage(valkey_url, tmp_path, read_token=READ_TOKEN, write_token=WRITE_TOKEN) as stage,
        await browser.new_context(base_url=stage.url) as context,
    ):
        context.set_default_timeout(DEADLINE_S * 1000)
        page = await context.new_page()
        await page.goto("/audit")
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        await page.get_by_label("Token").fill("not the token at all")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("alert")).to_contain_text("wrong")
        await page.get_by_label("Token").fill(READ_TOKEN)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("heading", name="Audit trail")).to_be_visible()

        await page.goto("/")
        await expect(page.locator("#templates")).to_contain_text("No tier has a limit yet")
        await expect(page.get_by_role("button", name="+ New template")).to_have_count(0)
        await expect(page.get_by_role("button", name="Stop all")).to_be_disabled()
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        await page.goto("/")
        await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


@pytest.mark.parametrize(
    "wanted",
    [
        "//elsewhere.test/",
        "https://elsewhere.test/",
        "/.//elsewhere.test/",
        "{url}//elsewhere.test/",
        "\\\\elsewhere.test/",
        "javascript:alert(1)",
        "http://[",
    ],
)
async def test_signing_in_never_leads_to_another_site(
    browser: Browser, valkey_url: str, tmp_path: Path, wanted: str
) -> None:
    """Whatever a link from elsewhere asks for: the reader stays here."""
    async with (
        running_stage(valkey_url, tmp_path, write_token=WRITE_TOKEN) as stage,
        await browser.new_context(base_url=stage.url) as context,
    ):
        context.set_default_timeout(DEADLINE_S * 1000)
        page = await context.new_page()
        await page.goto(f"/login?next={quote(wanted.format(url=stage.url))}")
        await page.get_by_label("Token").fill(WRITE_TOKEN)
        await page.get_by_role("button", name="Sign in").click()
        await page.wait_for_url(lambda address: "/login" not in address)
        assert page.url.startswith(f"{stage.url}/"), page.url
