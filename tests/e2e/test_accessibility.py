"""axe finds nothing to complain about, on any page, in any state, in light and in dark."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect

from tests.e2e.stage import DEADLINE_S, Stage, running_stage

LIGHT: Final = "light"
DARK: Final = "dark"
STATES: Final[dict[str, tuple[str, list[str]]]] = {
    "enforcement": ("/", []),
    "event": ("/", ["#log .expand"]),
    "paused": ("/", ["#log [data-role=pause]"]),
    "new template": ("/", ["#templates [data-role=new]", "#rule-dialog summary"]),
    "faults": ("/", ["#templates [data-role=new]", "#rule-save"]),
    "edit override": ("/", ["#overrides [aria-label^=Edit]"]),
    "delete": ("/", ["#overrides [aria-label^=Delete]"]),
    "stop": ("/", ["#mode-switch [value=stop]"]),
    "import": ("/", ["#overrides [data-role=import]"]),
    "user": ("/users/user-1", ["#days-table >> xpath=../summary"]),
    "adjust": ("/users/user-1", ["#adjust"]),
    "unknown user": ("/users/nobody", []),
    "spend": ("/spend", []),
    "spend by model": ("/spend?spend.by=model", []),
    "nothing found": ("/spend?spend.q=zebra", []),
    "dry run": ("/dry-run", []),
    "audit": ("/audit", []),
    "sidecars": ("/sidecars", []),
    "settings": ("/settings", []),
}


@pytest_asyncio.fixture(loop_scope="session")
async def filled(stage: Stage) -> AsyncIterator[Stage]:
    """A workspace that has one of everything: each action and state, events, a hold, a tier without template."""
    await stage.create("templates", "free", limit_usd=1, action="block")
    await stage.create("templates", "pro", limit_usd=1, action="dry_run")
    await stage.create("templates", "old", limit_usd=20, status="disabled")
    await stage.create("overrides", "user-1", limit_usd=10, expires_at="2099-01-01T00:00:00Z", note="for the launch")
    await stage.create("overrides", "user-2", limit_usd=1)
    await stage.create("overrides", "user-3", limit_usd=None)
    for user_id, tier in (("user-1", "free"), ("user-2", "free"), ("user-3", "pro"), ("user-4", "free")):
        await stage.check(user_id, 0.9, tier)
        await stage.check(user_id, 0.9, tier)
    await stage.check("user-5", 2, "pro")
    await stage.check("user-6", 2, "enterprise")
    await stage.decide("reserve", "user-1", request_id="open-1", estimate_usd=1)
    usage = {"model": "nobody-knows-it", "input_tokens": 100, "output_tokens": 10}
    await stage.decide("check", "user-7", group="search", usage=usage)
    yield stage


async def violations(page: Page, *rules: str) -> list[str]:
    """Return what axe finds, by some of its rules or by all, each with the element it means."""
    only = {"runOnly": {"type": "rule", "values": rules}} if rules else {}
    result: Any = (await Axe().run(page, options={"resultTypes": ["violations"], **only})).response
    return [f"{found['id']}: {node['html'][:160]}" for found in result["violations"] for node in found["nodes"]]


async def violations_in_every_theme(page: Page) -> list[str]:
    """Return what axe finds in light, and in dark by the one rule that looks at colours."""
    found = []
    for theme, rules in ((LIGHT, ()), (DARK, ("color-contrast",))):
        await page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        found += [f"{theme}: {line}" for line in await violations(page, *rules)]
    return found


@pytest.mark.parametrize("width", [1360, 380])
async def test_axe_finds_no_violation(page: Page, filled: Stage, width: int) -> None:
    """Every page, modal, opened row and state."""
    await page.set_viewport_size({"width": width, "height": 900})
    found = {}
    for name, (path, clicks) in STATES.items():
        await page.emulate_media(color_scheme=LIGHT, reduced_motion="reduce")
        await page.goto(path)
        await expect(page.locator("#sidecars-chip")).to_be_visible()
        await page.wait_for_load_state("load")
        for click in clicks:
            await page.locator(click).first.click()
        found[name] = await violations_in_every_theme(page)

    assert {} == {name: lines for name, lines in found.items() if lines}


async def test_axe_finds_no_violation_where_there_is_nothing_yet(page: Page, stage: Stage) -> None:
    """Empty panels, empty pages, and the upgrade prompt."""
    found = {}
    for path in ("/", "/spend", "/dry-run", "/audit"):
        await page.goto(path)
        await expect(page.locator(".empty").first).to_be_visible()
        found[path] = await violations_in_every_theme(page)
    await stage.put_settings(plan="free")
    await page.goto("/")
    await expect(page.locator("#upgrade")).to_be_visible()
    found["upgrade"] = await violations_in_every_theme(page)

    assert {} == {name: lines for name, lines in found.items() if lines}


async def test_axe_finds_no_violation_at_the_sign_in(browser: Browser, valkey_url: str, tmp_path: Path) -> None:
    """Before and after a wrong token."""
    async with (
        running_stage(valkey_url, tmp_path, write_token="the-token-of-this-test") as stage,
        await browser.new_context(base_url=stage.url) as context,
    ):
        context.set_default_timeout(DEADLINE_S * 1000)
        page = await context.new_page()
        await page.goto("/login")
        before = await violations_in_every_theme(page)
        await page.get_by_label("Token").fill("not the token at all")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("alert")).to_be_visible()
        assert ([], []) == (before, await violations_in_every_theme(page))
