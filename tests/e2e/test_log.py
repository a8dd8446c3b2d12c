"""The enforcement log in an open page: live, paused, reconnected, filtered, bounded."""

import asyncio

from playwright.async_api import Page, Route, expect

from tests.e2e.stage import DEADLINE_S, Stage, until

MAX_ROWS = 200


async def shown_users(page: Page) -> list[str]:
    """Return the user ids of the log's rows, as they stand."""
    users: list[str] = await page.locator("#log tbody tr[data-id] td:nth-child(2)").all_inner_texts()
    return users


async def open_log(page: Page, stage: Stage, address: str = "/") -> None:
    """Open the page with a limit that every call of user-... exceeds, and wait until the log is live."""
    await stage.create("templates", "*", limit_usd=0, action="block")
    await page.goto(address)
    await expect(page.locator("#log [data-role=state]")).to_have_text("Live")


async def test_paused_and_resumed_the_log_loses_nothing(page: Page, stage: Stage) -> None:
    """While paused nothing moves and the button counts; afterwards all is there once, newest first."""
    await open_log(page, stage)
    await stage.check("before", 1)
    await expect(page.locator("#log tbody tr[data-id]")).to_have_count(1)
    await page.get_by_role("button", name="Pause").click()
    for number in range(25):
        await stage.check(f"user-{number:02}", 1)
    await expect(page.get_by_role("button", name="Resume (25 new)")).to_be_visible()
    assert ["before"] == await shown_users(page)

    await page.get_by_role("button", name="Resume (25 new)").click()
    await expect(page.locator("#log tbody tr[data-id]")).to_have_count(26)
    await stage.check("after", 1)
    await expect(page.locator("#log tbody tr[data-id]")).to_have_count(27)

    assert ["after", *(f"user-{number:02}" for number in reversed(range(25))), "before"] == await shown_users(page)


async def test_a_lost_connection_loses_and_repeats_nothing(page: Page, stage: Stage) -> None:
    """While the control plane is down the sidecar goes on; the page reconnects and has every event once, in order."""
    await open_log(page, stage)
    await stage.check("before", 1)
    await expect(page.locator("#log tbody tr[data-id]")).to_have_count(1)
    await stage.stop_page()
    await expect(page.locator("#log [data-role=state]")).to_have_text("Reconnecting")
    for number in range(10):
        assert "block" == await stage.check(f"user-{number}", 1)
    await stage.start_page()

    await expect(page.locator("#log tbody tr[data-id]")).to_have_count(11)
    await expect(page.locator("#log [data-role=state]")).to_have_text("Live")
    await stage.check("after", 1)
    await expect(page.locator("#log tbody tr[data-id]")).to_have_count(12)
    assert ["after", *(f"user-{number}" for number in reversed(range(10))), "before"] == await shown_users(page)


async def test_a_refused_connection_is_opened_anew_behind_the_last_event(page: Page, stage: Stage) -> None:
    """Where the browser itself gives up, because it was answered 503, the page goes on asking, and repeats nothing."""
    await open_log(page, stage)
    await stage.check("before", 1)
    await expect(page.locator("#log tbody tr[data-id]")).to_have_count(1)
    refused = asyncio.Event()

    async def refuse(route: Route) -> None:
        await route.fulfill(status=503)
        refused.set()

    await page.route("**/api/v1/events/stream*", refuse)
    await stage.stop_page()
    await stage.start_page()
    await asyncio.wait_for(refused.wait(), DEADLINE_S)
    await stage.check("meanwhile", 1)
    await page.unroute("**/api/v1/events/stream*")

    await expect(page.locator("#log tbody tr[data-id]")).to_have_count(2)
    await stage.check("after", 1)
    await expect(page.locator("#log tbody tr[data-id]")).to_have_count(3)
    assert ["after", "meanwhile", "before"] == await shown_users(page)


async def test_the_log_in_the_browser_is_bounded_and_older_events_are_a_page_away(page: Page, stage: Stage) -> None:
    """However many events come, the newest 200 stay in the page; the others are found behind them, without a gap."""
    await open_log(page, stage)
    rows = page.locator("#log tbody tr[data-id]")
    await asyncio.gather(*(stage.check(f"user-{number:03}", 1) for number in range(150)))
    await expect(rows).to_have_count(150)
    await asyncio.gather(*(stage.check(f"user-{number:03}", 1) for number in range(150, MAX_ROWS + 60)))
    await expect(rows).to_have_count(MAX_ROWS)
    newest = [event["user_id"] for event in (await stage.get(f"events?limit={MAX_ROWS}"))["items"]]

    async def are_newest_shown() -> bool:
        return await shown_users(page) == newest

    await until(are_newest_shown, "the newest events are shown")
    first_page = await shown_users(page)
    await page.get_by_role("button", name="Older events").click()
    await expect(page.get_by_role("button", name="Back to live")).to_be_visible()

    async def has_turned() -> bool:
        return set(await shown_users(page)).isdisjoint(first_page)

    await until(has_turned, "the older page is shown")
    older = await shown_users(page)
    expected = {f"user-{number:03}" for number in range(MAX_ROWS + 60)}
    await page.get_by_role("button", name="Older events").click()

    async def has_turned_again() -> bool:
        return set(await shown_users(page)).isdisjoint(older)

    await until(has_turned_again, "the last page is shown")
    assert expected == {*first_page, *older, *await shown_users(page)}
    await page.get_by_role("button", name="Back to live").click()
    await expect(page.locator("#log [data-role=state]")).to_have_text("Live")


async def test_filters_stand_in_the_address_and_hold_for_live_events(page: Page, stage: Stage) -> None:
    """A filtered log shows only what matches, also of what comes; a reload shows the same."""
    await open_log(page, stage)
    await stage.check("wanted", 1)
    await stage.check("other", 1)
    await expect(page.locator("#log tbody tr[data-id]")).to_have_count(2)
    await page.get_by_label("User ID, exactly").fill("wanted")
    await expect(page.locator("#log tbody tr[data-id]")).to_have_count(1)
    await expect(page.locator("#log [data-role=state]")).to_have_text("Live")
    await stage.check("other", 1)
    await stage.check("wanted", 1)
    await expect(page.locator("#log tbody tr[data-id]")).to_have_count(2)
    assert "log.user_id=wanted" in page.url

    await page.reload()
    await expect(page.locator("#log tbody tr[data-id]")).to_have_count(2)
    assert ["wanted", "wanted"] == await shown_users(page)
    assert "user_id=wanted" in (await page.locator("#log [data-role=export]").get_attribute("href") or "")


async def test_an_event_opens_to_everything_that_is_known_of_it(page: Page, stage: Stage) -> None:
    """Behind the relative time stand the exact one, the request, the amount and what the app sent along."""
    await open_log(page, stage)
    await stage.decide("check", "user-1", cost_usd="0.000001234", request_id="req-1", meta={"feature": "chat"})
    await page.locator("#log .expand").click()

    details = page.locator("#log tr.details")
    for text in ("req-1", "$0.000001234", '{"feature":"chat"}', "UTC"):
        await expect(details).to_contain_text(text)
    await expect(page.locator("#log .expand")).to_have_attribute("aria-expanded", "true")


async def test_times_are_shown_in_utc_or_in_the_zone_of_the_browser(page: Page, stage: Stage) -> None:
    """The switch changes every exact time, and is remembered."""
    await open_log(page, stage)
    await stage.check("user-1", 1)
    await page.locator("#log .expand").click()
    exact = page.locator("#log tr.details time").first
    await expect(exact).to_contain_text("UTC")
    await page.get_by_role("button", name="Local").click()
    await expect(page.get_by_role("button", name="Local")).to_have_attribute("aria-pressed", "true")
    await page.reload()
    await expect(page.get_by_role("button", name="Local")).to_have_attribute("aria-pressed", "true")
