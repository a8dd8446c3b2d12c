"""Makes the pictures of docs/images: every panel, modal, page and state, in light and dark, from a workspace in use.

``make screenshots`` runs it. The numbers in the pictures come from real calls to a real sidecar over a real store.
"""

import asyncio
import random
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from playwright.async_api import Browser, Page, expect

from tests.conftest import running_server, valkey_binary
from tests.e2e.browser import running_browser
from tests.e2e.stage import Stage, running_stage

IMAGES: Final = Path(__file__).parents[2] / "docs" / "images"
VIEWPORT: Final = {"width": 1280, "height": 800}
SEED: Final = 42
CALLS: Final = 260
MODELS: Final = ("gpt-4.1-mini", "claude-sonnet-4-5", "gemini-2.5-pro")
PRICED: Final = {"gpt-4.1-mini": 0.4, "claude-sonnet-4-5": 3.0, "gemini-2.5-pro": 1.25}
GROUPS: Final = ("search", "chat", "summarize", None)
USAGES: Final = 120
USERS: Final = (
    *(("user-1", "free"), ("user-2", "free"), ("user-3", "free"), ("user-42", "pro"), ("user-7", "pro")),
    *(("acme-batch", "team"), ("crawler", "team"), ("runaway-script", "free"), ("user-11", "pro")),
    *(("globex-1", "enterprise"), ("user-9", "pro")),
)

Shot = tuple[str, str, tuple[str, ...], str | None]
"""Name of the picture, address, what is pressed, and the element that is pictured (None: what fits the window)."""

FILLED: Final[tuple[Shot, ...]] = (
    ("enforcement", "/", (), None),
    ("tier-templates", "/", (), "#templates"),
    ("user-overrides", "/", (), "#overrides"),
    ("enforcement-log", "/", ("#log .expand",), "#log"),
    ("new-template", "/", ("#templates [data-role=new]",), None),
    (
        "edit-override",
        "/",
        ("#overrides [aria-label='Edit override for user-42 (month)']", "#rule-dialog summary"),
        None,
    ),
    ("delete", "/", ("#overrides [aria-label^=Delete]",), None),
    ("stop", "/", ("#mode-switch [value=stop]",), None),
    ("import", "/", ("#overrides [data-role=import]",), None),
    ("user", "/users/user-42", (), "body"),
    ("adjust", "/users/user-42", ("#adjust",), None),
    ("dry-run", "/dry-run", (), None),
    ("audit", "/audit", (), None),
    ("sidecars", "/sidecars", (), None),
    ("settings", "/settings", (), None),
)


async def fill(stage: Stage) -> None:
    """Make rules of every kind and calls that meet them."""
    in_a_week = (datetime.now(UTC) + timedelta(days=7)).strftime("%Y-%m-%dT00:00:00Z")
    await stage.create("templates", "free", limit_usd=5, action="block")
    await stage.create("templates", "pro", limit_usd=50)
    await stage.create("templates", "team", limit_usd=60, action="dry_run", alert_thresholds_pct=[50, 80, 95])
    await stage.create("templates", "legacy", limit_usd=20, status="disabled", note="until the old app is off")
    await stage.create("overrides", "user-42", limit_usd=25, action="block", alert_thresholds_pct=[50, 80, 95])
    await stage.create("overrides", "user-7", limit_usd=200, expires_at=in_a_week, note="launch week")
    await stage.create("overrides", "acme-batch", limit_usd=None, note="billed apart")
    await stage.create("overrides", "runaway-script", limit_usd=0, action="block")
    await stage.create("overrides", "user-11", limit_usd=12, window="week", action="dry_run", timezone="Europe/Berlin")
    await stage.create("overrides", "old-customer", limit_usd=75, status="disabled")
    chance = random.Random(SEED)
    for number in range(CALLS):
        user_id, tier = chance.choice(USERS)
        cost = chance.choice((0.0123, 0.2, 0.75, 1.1)) * chance.choice((1, 1, 2))
        await stage.decide("check", user_id, tier=tier, cost_usd=f"{cost:.4f}", meta={"model": chance.choice(MODELS)})
        if number % 60 == 0:
            request_id = f"chat-{number}"
            await stage.decide("reserve", user_id, tier=tier, request_id=request_id, estimate_usd="0.40")


async def use_models(stage: Stage) -> None:
    """Make calls that tell their usage: of known models, and now and then of one without a price."""
    await stage.put_prices(**PRICED)
    chance = random.Random(SEED)
    for number in range(USAGES):
        user_id, tier = chance.choice(USERS)
        model = "in-house-7b" if number % 20 == 0 else chance.choice((*MODELS, MODELS[0]))
        usage = {
            "model": model,
            "input_tokens": chance.randrange(5_000, 90_000),
            "output_tokens": chance.randrange(500, 15_000),
        }
        group = {} if (name := chance.choice(GROUPS)) is None else {"group": name}
        await stage.decide("check", user_id, tier=tier, usage=usage, **group)


async def shoot(page: Page, shots: tuple[Shot, ...], theme: str) -> None:
    """Take the pictures of one theme."""
    for name, path, clicks, element in shots:
        await page.goto(path)
        await expect(page.locator("#sidecars-chip")).to_be_visible()
        await page.wait_for_function(
            "(!document.querySelector('#log') || document.querySelector('#log [data-id], #log .empty'))"
            " && (!document.querySelector('#spend-table') || document.querySelector('#spend-table tbody'))"
        )
        for click in clicks:
            await page.locator(click).first.click()
        target = IMAGES / f"{name}-{theme}.png"
        if element == "body":
            await page.screenshot(path=target, full_page=True)
        elif element is None:
            await page.screenshot(path=target)
        else:
            await page.locator(element).screenshot(path=target)


async def run(store_url: str) -> None:
    """Take all pictures."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        async with running_browser() as browser:
            async with running_stage(store_url, Path(directory) / "filled") as stage:
                await fill(stage)
                await in_both_themes(browser, stage, FILLED)
                await stage.put_settings(plan="starter")
                await in_both_themes(browser, stage, (("upgrade", "/", (), None),))
            async with running_stage(store_url, Path(directory) / "spend") as stage:
                await use_models(stage)
                await in_both_themes(browser, stage, (("spend", "/spend?spend.by=model", (), "body"),))
            async with running_stage(store_url, Path(directory) / "empty") as stage:
                await in_both_themes(browser, stage, (("empty", "/", (), "body"),))


async def in_both_themes(browser: Browser, stage: Stage, shots: tuple[Shot, ...]) -> None:
    """Take pictures in light and in dark, once the sidecar has the newest rules."""
    await stage.converged() if shots is FILLED else None
    for theme in ("light", "dark"):
        async with await browser.new_context(
            viewport=VIEWPORT, base_url=stage.url, color_scheme="dark" if theme == "dark" else "light"
        ) as context:
            await shoot(await context.new_page(), shots, theme)


if __name__ == "__main__":
    with running_server(valkey_binary()) as url:
        asyncio.run(run(url))
    sys.stdout.write(f"{len(list(IMAGES.glob('*.png')))} pictures in docs/images\n")
