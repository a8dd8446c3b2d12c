"""The enforcement log over HTTP: pages, filters, CSV, hostile names."""

import csv
import io
import itertools
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from controlplane.api import events
from controlplane.csv_text import read_cell
from controlplane.enforcement_log import COLUMNS
from ledger.errors import StoreUnavailable
from ledger.event_log import EventLog, EventPage
from ledger.rules import Action
from tests.support.control_reads import ControlReads, control_reads
from tests.support.hostile_names import HOSTILE_NAMES
from tests.support.ledger_under_test import rules, template


@pytest.fixture
async def control(store_url: str) -> AsyncIterator[ControlReads]:
    """A control plane over an empty workspace; free users may spend 5 USD a month."""
    async with control_reads(store_url) as control:
        control.rule_set = rules(
            template("free", 5), template("pro", 1, action=Action.WARN), template("dry", 1, action=Action.DRY_RUN)
        )
        yield control


def rows_of(text: str) -> list[dict[str, str]]:
    """Return the rows of a CSV document."""
    return list(csv.DictReader(io.StringIO(text, newline="")))


async def test_a_blocked_call_is_an_event_with_every_column(control: ControlReads) -> None:
    """Time, user, action, spend at that time with the holds beside it, limit, window; tier, reason, model, rule."""
    await control.check("ann", 4, tier="free")
    usage = {"group": "search", "model": "gpt-5", "price_version": "book 1"}
    decision = await control.check("ann", 2, tier="free", request_id="r-9", meta='{"app":"chat"}', **usage)
    _, page = await control.get("events", action="blocked")
    (event,) = page["items"]
    rule = decision.budgets[0].terms

    assert {
        "type": "blocked",
        "user_id": "ann",
        "tier": "free",
        "request_id": "r-9",
        **usage,
        "reason": "limit",
        "amount_usd": 2,
        "rule_id": rule.rule_id,
        "spend_usd": 4,
        "held_usd": 0,
        "limit_usd": 5,
        "percent": 80,
        "window": "month",
        "outcomes": [{"rule_id": rule.rule_id, "outcome": "block"}],
        "meta": {"app": "chat"},
    } == {name: event[name] for name in event.keys() - {"id", "at", "window_start", "resets_at"}}
    assert (None, control.rule_set.revision, 2) == (page["total"], page["revision"], page["entries"])


async def test_the_log_shows_decisions_unless_it_is_asked_for_more(control: ControlReads) -> None:
    """Warned, blocked and dry-run; expired, adjusted and the like have a filter of their own."""
    await control.check("ann", 2, tier="pro")
    await control.check("bob", 6, tier="free")
    await control.check("cyd", 2, tier="dry")
    await control.post("users/ann/adjust", {"request_id": "a", "usd": -1, "note": "refund"})

    async def types(**parameters: str) -> list[str]:
        return [event["type"] for event in await control.items("events", **parameters)]

    assert ["dry_run", "blocked", "warned"] == await types()
    assert ["adjusted"] == await types(type="adjusted")
    assert ["adjusted", "blocked"] == await types(type="adjusted", action="blocked")
    assert ["adjusted", "dry_run", "blocked", "warned"] == await types(type="all")
    assert ["warned"] == await types(user_id="ann")
    assert ["blocked"] == await types(q="BO")
    assert ["dry_run"] == await types(tier="dry")


async def test_pages_follow_each_other_by_their_cursor(control: ControlReads) -> None:
    """Of the size that is asked for, the last without a cursor."""
    await control.streams.add_many(120)
    sizes, cursor = [], {}
    while True:
        _, page = await control.get("events", limit="50", **cursor)
        sizes.append(len(page["items"]))
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}

    assert [50, 50, 20] == sizes
    assert [f"r-{number}" for number in reversed(range(120))] == [
        event["request_id"] for event in await control.items("events")
    ]


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"action": "shouted"}, "action"),
        ({"action": "expired"}, "action"),
        ({"type": "nothing"}, "type"),
        ({"user_id": "a\nb"}, "user_id"),
        ({"user_id": "a" * 257}, "user_id"),
        ({"tier": "\u202e"}, "tier"),
        ({"q": "q" * 257}, "q"),
        ({"since": "yesterday"}, "since"),
        ({"until": "2026-01-01"}, "until"),
        ({"limit": "0"}, "limit"),
        ({"limit": "201"}, "limit"),
        ({"limit": "9" * 5000}, "limit"),
        ({"limit": "\u0665"}, "limit"),
        ({"cursor": "1-2"}, "cursor"),
        ({"usr": "ann"}, "usr"),
    ],
)
async def test_a_wrong_parameter_is_named(control: ControlReads, parameters: dict[str, str], field: str) -> None:
    """Unknown ones too: a mistyped filter must not show everything."""
    status, problem = await control.get("events", **parameters)

    assert (400, "invalid_field", field) == (status, problem["code"], problem["field"])


async def test_a_repeated_parameter_is_refused(control: ControlReads) -> None:
    """Nobody could tell which one counts."""
    async with control.session.get(f"{control.url}/api/v1/events?user_id=a&user_id=b") as response:
        assert (400, "user_id") == (response.status, (await response.json(content_type=None))["field"])


async def test_a_page_tells_how_far_it_looked_and_what_was_trimmed(control: ControlReads) -> None:
    """Only then: a page that found everything says nothing of it."""
    await control.streams.add_many(30_000, user="other")
    await control.streams.client.xtrim(control.streams.key(), maxlen=29_000, approximate=False)
    _, page = await control.get("events", q="nobody")
    _, rest = await control.get("events", q="nobody", cursor=page["next_cursor"])

    assert ([], True, "1970-01-01T00:00:02Z") == (page["items"], page["scanned_to"] is not None, page["trimmed_before"])
    assert ([], None, None) == (rest["items"], rest["scanned_to"], rest["next_cursor"])


async def test_amounts_are_exact_and_beyond_the_cap_text(control: ControlReads) -> None:
    """As everywhere on the wire."""
    await control.streams.add(amount=1, spend=8_000_000_000_000_001, held=123_456_789, limit=8_000_000_000_000_000)
    (event,) = await control.items("events")

    assert (1e-9, "8000000.000000001", 0.123456789, 8_000_000) == (
        event["amount_usd"],
        event["spend_usd"],
        event["held_usd"],
        event["limit_usd"],
    )


async def test_the_csv_has_the_same_events_as_the_pages(control: ControlReads) -> None:
    """All of them, of the same filter, newest first."""
    await control.streams.add_many(2500)
    await control.streams.add("900000-0", type="expired", request="not wanted")
    headers, text = await control.text("events.csv", action="blocked")

    assert [f"r-{number}" for number in reversed(range(2500))] == [row["request_id"] for row in rows_of(text)]
    assert ("text/csv; charset=utf-8; header=present", 'attachment; filename="enforcement-log.csv"', "no-store") == (
        headers["Content-Type"],
        headers["Content-Disposition"],
        headers["Cache-Control"],
    )


async def test_a_row_of_the_csv_has_exact_amounts_and_moments(control: ControlReads) -> None:
    """Every column of the page, amounts as decimals, moments in UTC."""
    await control.streams.add("1769860800123-0", meta='{"a":1}')
    _, text = await control.text("events.csv")

    assert [
        dict(
            zip(
                COLUMNS,
                [
                    *("2026-01-31T12:00:00.123Z", "alice", "blocked", "5.00", "0.00", "5.00", "day"),
                    *("2026-01-31T00:00:00Z", "2026-02-01T00:00:00Z", "1.00", "free", "limit"),
                    *("search", "gpt-5", "book 1", "rule-1", "r-1", "1769860800123-0-0"),
                ],
                strict=True,
            )
        )
    ] == rows_of(text)


async def test_an_adjustments_minus_is_a_number_in_the_csv(control: ControlReads) -> None:
    """Sums must work; only text is made safe."""
    await control.streams.add(type="adjusted", amount=-1_500_000_000, spend="", held="", limit="", rule="", window="")
    _, text = await control.text("events.csv", type="adjusted")
    (row,) = rows_of(text)

    assert ("-1.50", "", "", "") == (row["amount_usd"], row["spend_usd"], row["limit_usd"], row["window"])


async def test_only_so_many_exports_run_at_once(control: ControlReads, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is refused while another runs, and served when it has ended."""
    monkeypatch.setattr(events, "MAX_EXPORTS", 1)
    await control.streams.add_many(30_000, meta="x" * 500)
    async with control.session.get(f"{control.url}/api/v1/events.csv") as running:
        status, problem = await control.get("events.csv")
        await running.read()
    assert (503, "too_many_exports") == (status, problem["code"])

    headers, _ = await control.text("events.csv", user_id="nobody")
    assert headers["X-Row-Limit"] == "100000"


async def test_an_export_that_loses_its_store_does_not_look_whole(
    control: ControlReads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection ends without the end of the body."""
    page, pages = EventLog.page, itertools.count()

    async def failing_page(self: EventLog, *arguments: Any, **options: Any) -> EventPage:
        if next(pages) == 2:
            raise StoreUnavailable("gone")
        return await page(self, *arguments, **options)

    monkeypatch.setattr(EventLog, "page", failing_page)
    await control.streams.add_many(5000)
    async with control.session.get(f"{control.url}/api/v1/events.csv") as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_an_export_without_a_store_is_an_error(control: ControlReads, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything was sent it can still be said."""

    async def no_page(*_arguments: Any, **_options: Any) -> EventPage:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(EventLog, "page", no_page)
    status, problem = await control.get("events.csv")

    assert (503, "store_unavailable") == (status, problem["code"])


async def test_an_empty_csv_has_its_head(control: ControlReads) -> None:
    """A table without rows is still a table."""
    _, text = await control.text("events.csv")

    assert ",".join(f'"{name}"' for name in COLUMNS) + "\r\n" == text


@pytest.mark.parametrize("name", HOSTILE_NAMES)
async def test_a_hostile_name_is_text_everywhere(control: ControlReads, name: str) -> None:
    """As user and tier: found by itself alone, the same in JSON, one harmless cell in CSV."""
    await control.check("other", 6, tier="free")
    control.rule_set = rules(template(name, 5))
    await control.check(name, 6, tier=name)
    (event,) = await control.items("events", user_id=name)
    same = await control.items("events", tier=name)
    _, text = await control.text("events.csv", user_id=name)
    (row,) = rows_of(text)

    assert (name, name, [event]) == (event["user_id"], event["tier"], same)
    assert (name, name) == (read_cell(row["user_id"]), read_cell(row["tier"]))
    assert not row["user_id"].startswith(("=", "+", "-", "@"))
    assert not row["tier"].startswith(("=", "+", "-", "@"))


async def test_text_of_a_foreign_writer_cannot_leave_its_cell(control: ControlReads) -> None:
    """Line ends and invisible marks, which no sidecar lets in, stay inside the quotes."""
    wild: Any = 'a"\r\n=cmd|\u2028,;\t\u202e'
    await control.streams.add(user=wild, tier="\u200e=1+1", model="\r\n@x", meta="no json")
    (event,) = await control.items("events")
    _, text = await control.text("events.csv")
    (row,) = rows_of(text)

    assert (wild, "\u200e=1+1", "\r\n@x", "no json") == (
        event["user_id"],
        event["tier"],
        event["model"],
        event["meta"],
    )
    assert (wild, "'\u200e=1+1", "'\r\n@x") == (row["user_id"], row["tier"], row["model"])
