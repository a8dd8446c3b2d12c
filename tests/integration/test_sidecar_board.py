"""Which sidecars run and how their rules stand to the control plane's, from their own reports."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from types import MappingProxyType
from typing import Any
from uuid import uuid4

import pytest
import redis.asyncio
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from controlplane.api.sidecars import SidecarHandlers
from controlplane.sidecars import KEPT_S, SidecarBoard
from ledger.connection import StoreTimeouts, connect
from ledger.errors import StoreUnavailable
from ledger.heartbeats import Heartbeats, SidecarReport
from ledger.keys import RuleKeys
from ledger.rule_book import RuleBook
from ledger.rule_changes import RulePosition
from ledger.rules import EMPTY_RULE_SET
from tests.support.sidecar_reports import the_report

BOOK = RuleBook(
    position=RulePosition("epoch-1", 41, "tip"),
    settings_revision=1,
    rules=EMPTY_RULE_SET,
    entries=MappingProxyType({}),
)
OLD_FIELDS = {"id", "version", "host", "revision", "epoch", "store_ok", "started_ms", "rules_source"}
REPORT = SidecarReport(
    id="a",
    version="0.1.0",
    host="node-1",
    revision=41,
    epoch="epoch-1",
    store_ok=True,
    started_ms=1_769_860_800_000,
    rules_source="store",
)


class Sidecars:
    """The reports of a workspace and a board over them, whose clock tests set."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.workspace = f"board-{uuid4().hex[:12]}"
        self.heartbeats = Heartbeats(client, workspace=self.workspace)
        self.book = BOOK
        self.time_s = 0.0
        self.board = SidecarBoard(self.heartbeats, lambda: self.book, clock=lambda: self.time_s)

    async def report(self, sidecar_id: str, **changes: Any) -> None:
        """Send a report."""
        await self.heartbeats.report(replace(REPORT, id=sidecar_id, **changes))

    async def age(self, sidecar_id: str, seconds: int) -> None:
        """Let a report be older."""
        await self.client.zincrby(RuleKeys.of(self.workspace).sidecars, -seconds * 1000, sidecar_id)

    async def answer(self) -> dict[str, Any]:
        """Return what the API answers, as of now."""
        self.time_s += KEPT_S
        app = web.Application()
        app.add_routes(SidecarHandlers(self.board).routes())
        async with (
            TestServer(app) as server,
            ClientSession() as session,
            session.get(server.make_url("/api/v1/sidecars")) as response,
        ):
            return dict(await response.json())


@pytest.fixture
async def sidecars(store_url: str) -> AsyncIterator[Sidecars]:
    """A workspace without sidecars, its rules at revision 41."""
    async with redis.asyncio.Redis.from_url(store_url) as client:
        yield Sidecars(client)


async def test_without_sidecars_the_list_is_empty(sidecars: Sidecars) -> None:
    """None of none."""
    assert {
        "items": [],
        "revision": 41,
        "current": 0,
        "total": 0,
        "own_rules": 0,
        "stale": 0,
        "store_trouble": 0,
        "breaker_open": 0,
        "recovering": 0,
        "degraded_lately": 0,
    } == await sidecars.answer()


async def test_sidecars_are_counted_by_how_they_stand(sidecars: Sidecars) -> None:
    """Those who lag, who have rules of their own, who are silent, and whose store fails."""
    await sidecars.report("current")
    await sidecars.report("behind", revision=40, store_ok=False)
    await sidecars.report("ahead", revision=42)
    await sidecars.report("other life", epoch="epoch-0")
    await sidecars.report("file", rules_source="file", epoch="", revision=3)
    await sidecars.report("silent", store_ok=False)
    await sidecars.age("silent", 16)
    answer = await sidecars.answer()

    assert {
        "current": "current",
        "behind": "behind",
        "ahead": "behind",
        "other life": "behind",
        "file": "own_rules",
        "silent": "stale",
    } == {line["id"]: line["standing"] for line in answer["items"]}
    assert (41, 1, 4, 1, 1, 1) == (
        answer["revision"],
        answer["current"],
        answer["total"],
        answer["own_rules"],
        answer["stale"],
        answer["store_trouble"],
    )


async def test_a_line_tells_who_it_is_and_when_it_was_heard_of(sidecars: Sidecars) -> None:
    """Host, version, revision, source of the rules, store, start, last report and its age."""
    await sidecars.report("a")
    await sidecars.age("a", 7)
    (line,) = (await sidecars.answer())["items"]

    assert {
        "id": "a",
        "host": "node-1",
        "version": "0.1.0",
        "standing": "current",
        "revision": 41,
        "rules_source": "store",
        "store_ok": True,
        "breaker_open": False,
        "recovering": False,
        "journal_pending": 0,
        "degraded_decisions": 0,
        "degraded_at": None,
        "started_at": "2026-01-31T12:00:00Z",
    } == {name: value for name, value in line.items() if name not in {"seen_at", "age_s"}}
    assert 7 <= line["age_s"] < 60  # Not below what it is older than this test, which may have taken a while itself.


async def test_an_outage_is_told_while_it_lasts_and_for_a_while_after_it(sidecars: Sidecars) -> None:
    """Most outages are over before anybody can report them; one of yesterday is no news."""
    lately = REPORT.started_ms
    await sidecars.report("open", breaker_open=True, degraded_decisions=3, degraded_ms=lately)
    await sidecars.report("recovering", recovering=True, journal_pending=12)
    seen = (await the_report(sidecars.heartbeats, "open")).seen_ms
    await sidecars.report("over", degraded_decisions=5, degraded_ms=seen)
    await sidecars.report("silent", breaker_open=True, recovering=True, degraded_decisions=1, degraded_ms=seen)
    await sidecars.age("silent", 16)
    answer = await sidecars.answer()
    lines = {line["id"]: line for line in answer["items"]}

    assert (1, 1, 1) == (answer["breaker_open"], answer["recovering"], answer["degraded_lately"])
    assert (True, 3, "2026-01-31T12:00:00Z") == tuple(
        lines["open"][name] for name in ("breaker_open", "degraded_decisions", "degraded_at")
    )
    assert (True, 12) == (lines["recovering"]["recovering"], lines["recovering"]["journal_pending"])


async def test_a_report_of_an_older_version_is_read_all_the_same(sidecars: Sidecars) -> None:
    """During an update both stand on the page."""
    await sidecars.report("a")
    key = RuleKeys.of(sidecars.workspace).sidecar_states
    report = json.loads(await sidecars.client.hget(key, "a"))
    old = {name: value for name, value in report.items() if name in OLD_FIELDS}
    await sidecars.client.hset(key, "a", json.dumps(old))
    (line,) = (await sidecars.answer())["items"]

    assert (False, None) == (line["breaker_open"], line["degraded_at"])


async def test_a_new_revision_makes_all_lag_until_they_report_it(sidecars: Sidecars) -> None:
    """Told at once, not after the next look at the store."""
    await sidecars.report("a")
    before = await sidecars.board.now()
    sidecars.book = replace(BOOK, position=RulePosition("epoch-1", 42, "tip"))
    after = await sidecars.board.now()

    assert (["current"], ["behind"]) == tuple([line.standing for line in now.lines] for now in (before, after))


async def test_many_readers_ask_the_store_once(sidecars: Sidecars) -> None:
    """For a second; then again."""
    await sidecars.board.now()
    await sidecars.report("a")
    sidecars.time_s = KEPT_S / 2
    kept = await sidecars.board.now()
    sidecars.time_s = KEPT_S
    fresh = await sidecars.board.now()

    assert [0, 1] == [len(now.lines) for now in (kept, fresh)]


async def test_a_store_that_is_gone_is_an_error_of_its_own() -> None:
    """An empty list would read as if no sidecar ran."""
    client = connect("unix:///nowhere/at-all", StoreTimeouts())
    board = SidecarBoard(Heartbeats(client, workspace="gone"), lambda: BOOK)
    with pytest.raises(StoreUnavailable):
        await board.now()
    await client.aclose()
