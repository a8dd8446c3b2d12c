"""What the page shows of sidecars that decide without Redis: while it lasts, and after it."""

import re
from dataclasses import replace
from typing import Final

import pytest
from playwright.async_api import Page, expect

from ledger import heartbeats
from ledger.connection import StoreTimeouts, connect
from ledger.heartbeats import Heartbeats, SidecarReport
from tests.e2e.stage import Stage
from tests.e2e.test_accessibility import violations
from tests.support.sidecar_reports import until_reported

REPORT: Final = SidecarReport(
    id="sidecar-cut-off",
    version="1",
    host="web-2",
    revision=1,
    epoch="",
    store_ok=False,
    started_ms=1_769_860_800_000,
    rules_source="file",
)


@pytest.fixture(autouse=True)
def _nobody_goes_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what is reported here once in the list, however long a browser takes to show it."""
    monkeypatch.setattr(heartbeats, "STALE_AFTER_MS", 3_600_000)


async def report(stage: Stage, **changes: object) -> None:
    """Report as another sidecar would, which has just decided three calls alone."""
    client = connect(stage.store_url, StoreTimeouts(connect_ms=10_000, command_ms=10_000))
    try:
        reports = Heartbeats(client, workspace=stage.workspace)
        own = await until_reported(reports, "from the stage", lambda state: state.id != REPORT.id)
        told = replace(REPORT, degraded_decisions=3, degraded_ms=own.seen_ms, **changes)  # type: ignore[arg-type]
        await reports.report(told)
    finally:
        await client.aclose()


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_a_banner_follows_an_outage_to_its_end(page: Page, stage: Stage, theme: str) -> None:
    """Live, on the page that is open: not reached, bringing back what was lost, reached again; axe finds no fault."""
    await page.emulate_media(color_scheme="dark" if theme == "dark" else "light", reduced_motion="reduce")
    notice = page.locator("#sidecars-notice")
    await stage.create("templates", "free", limit_usd=5)
    await page.goto("/")
    await expect(page.locator("#sidecars-chip")).to_be_visible()
    await expect(notice).to_be_hidden()

    await report(stage, breaker_open=True)
    await expect(notice).to_contain_text("1 sidecar cannot reach Redis now.")
    assert [] == await violations(page)
    await report(stage, recovering=True, journal_pending=12)
    await expect(notice).to_contain_text("1 sidecar still brings back what Redis lost.")
    await report(stage, store_ok=True)
    await expect(notice).to_contain_text("Within the last 10 minutes 1 sidecar decided calls without it.")


async def test_the_list_of_sidecars_says_what_each_decided_alone(page: Page, stage: Stage) -> None:
    """How many decisions, when the last one, what is still to be brought back."""
    await report(stage, breaker_open=True, journal_pending=12)
    await page.goto("/sidecars")
    row = page.locator("#sidecars tbody tr", has_text="web-2")

    await expect(row).to_contain_text("Not reached")
    await expect(row).to_contain_text(re.compile(r"3 decisions without it, the last (just now|\d+ (s|min) ago)"))
    await expect(row).to_contain_text("12 records to bring back")
    assert [] == await violations(page)
