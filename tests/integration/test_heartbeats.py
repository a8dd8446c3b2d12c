"""Heartbeats over a real store: what sidecars report is listed as it is, goes stale, and is forgotten."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from ledger.connection import StoreTimeouts, connect
from ledger.decisions import Decision, Operation, Outcome, Reason
from ledger.heartbeats import FORGOTTEN_AFTER_MS, STALE_AFTER_MS, Heartbeats, SidecarReport
from ledger.keys import RuleKeys
from sidecar import heartbeat
from sidecar.breaker import BreakerState
from sidecar.heartbeat import Heartbeat
from sidecar.metrics import Metrics
from sidecar.rule_cache import RuleCache
from tests.support.books import new_workspace
from tests.support.rule_delivery import delivery, following
from tests.support.sidecar_reports import WITHIN_S, the_report, until_reported

REPORT = SidecarReport(
    id="sidecar-1",
    version="1.0",
    host="web-1",
    revision=3,
    epoch="e",
    store_ok=True,
    started_ms=7,
    rules_source="store",
)

NEVER_S = 3600.0


def degraded_decision(*, at_ms: int) -> Decision:
    """Return what was decided without the store."""
    return Decision(
        Operation.CHECK, "r", "u", None, Outcome.ALLOW, Reason.STORE_UNAVAILABLE, (), None, 1, at_ms, degraded=True
    )


@pytest.fixture
def workspace() -> str:
    """Return a workspace of its own."""
    return new_workspace()


@pytest.fixture
async def client(valkey_url: str) -> AsyncIterator[Any]:
    """Return a patient client."""
    client = connect(valkey_url, StoreTimeouts(connect_ms=10_000, command_ms=10_000))
    yield client
    await client.aclose()


@pytest.fixture
def heartbeats(client: Any, workspace: str) -> Heartbeats:
    """Return the heartbeats of a workspace of its own."""
    return Heartbeats(client, workspace=workspace)


async def test_a_report_is_listed_as_it_was_made(heartbeats: Heartbeats) -> None:
    """Every field comes back, with the store's time of the report."""
    now_ms = await heartbeats.report(REPORT)

    state = await the_report(heartbeats)
    assert {name: getattr(state, name) for name in REPORT.__slots__} == {
        name: getattr(REPORT, name) for name in REPORT.__slots__
    }
    assert (now_ms, False) == (state.seen_ms, state.is_stale)


async def test_a_later_report_replaces_the_one_before(heartbeats: Heartbeats) -> None:
    """One process has one line."""
    await heartbeats.report(REPORT)
    await heartbeats.report(replace(REPORT, revision=4))

    assert 4 == (await the_report(heartbeats)).revision


async def test_a_sidecar_that_stops_is_not_listed(heartbeats: Heartbeats) -> None:
    """Others stay."""
    await heartbeats.report(REPORT)
    await heartbeats.report(replace(REPORT, id="sidecar-2"))
    await heartbeats.withdraw("sidecar-1")

    assert "sidecar-2" == (await the_report(heartbeats)).id


async def test_a_silent_sidecar_goes_stale_and_is_forgotten_after_a_day(
    heartbeats: Heartbeats, client: Any, workspace: str
) -> None:
    """What was not seen for 15 seconds is marked; what was not seen for a day is dropped by the next report."""
    keys = RuleKeys.of(workspace)
    now_ms = await heartbeats.report(REPORT)
    await heartbeats.report(replace(REPORT, id="old"))
    await client.zadd(keys.sidecars, {"sidecar-1": now_ms - STALE_AFTER_MS - 1000})
    await client.zadd(keys.sidecars, {"old": now_ms - FORGOTTEN_AFTER_MS - 1000})

    assert [("sidecar-1", True)] == [(state.id, state.is_stale) for state in await heartbeats.list()]
    await heartbeats.report(replace(REPORT, id="new"))
    assert {b"sidecar-1", b"new"} == set(await client.hkeys(keys.sidecar_states))
    assert 2 == await client.zcard(keys.sidecars)


async def test_nothing_of_a_workspace_without_sidecars_is_kept_for_ever(
    heartbeats: Heartbeats, client: Any, workspace: str
) -> None:
    """Both keys have an end."""
    await heartbeats.report(REPORT)

    keys = RuleKeys.of(workspace)
    assert [True, True] == [0 < await client.pttl(key) for key in (keys.sidecars, keys.sidecar_states)]


@pytest.mark.parametrize("host", ["<script>", "a\nb", "=cmd()", "{x}", "\u202e", "h" * 1000])
async def test_hostile_hosts_are_text(heartbeats: Heartbeats, host: str) -> None:
    """Whatever a machine is called, it is listed by that."""
    await heartbeats.report(replace(REPORT, host=host))

    assert host == (await the_report(heartbeats)).host


async def test_a_report_that_cannot_be_read_hides_no_other(heartbeats: Heartbeats, client: Any, workspace: str) -> None:
    """Another version may write what this one does not know."""
    now_ms = await heartbeats.report(REPORT)
    keys = RuleKeys.of(workspace)
    for name, text in {"a": "{", "b": "{}", "c": "[]", "d": '{"id": 1}'}.items():
        await client.zadd(keys.sidecars, {name: now_ms})
        await client.hset(keys.sidecar_states, name, text)
    await client.zadd(keys.sidecars, {"without-state": now_ms})

    assert "sidecar-1" == (await the_report(heartbeats)).id


async def test_a_sidecar_reports_new_rules_at_once(
    heartbeats: Heartbeats, valkey_url: str, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operator sees a revision arrive, not five seconds later; catches a heart that beats by the clock only."""
    monkeypatch.setattr(heartbeat, "HEARTBEAT_INTERVAL_S", NEVER_S)
    monkeypatch.setattr(heartbeat, "FAREWELL_S", WITHIN_S)
    async with delivery(valkey_url, workspace) as control, following(valkey_url, workspace) as cache:
        heart = Heartbeat(heartbeats, cache, Metrics(), version="1", rules_source="store")
        task = asyncio.create_task(heart.run())
        try:
            for revision in (1, 2, 3):
                await control.add(f"tier-{revision}")
            await until_reported(heartbeats, "revision 3", lambda state: state.revision == 3)
        finally:
            task.cancel()
            await asyncio.wait([task], timeout=WITHIN_S)
        state = await the_report(heartbeats)
        await heart.stop()

        assert control.registry.book.epoch == state.epoch
        assert [] == await heartbeats.list()


async def test_a_failure_of_the_store_is_told_once_it_answers(heartbeats: Heartbeats) -> None:
    """A sidecar whose operations failed since the last report says so in the next one, and not in the one after."""
    metrics = Metrics()
    heart = Heartbeat(heartbeats, RuleCache(), metrics, version="1", rules_source="file")
    told = []
    for failures in (0, 1, 0):
        for _ in range(failures):
            metrics.record_store_error("store_unavailable")
        await heart._beat()
        told.append((await the_report(heartbeats)).store_ok)

    assert [True, False, True] == told


async def test_an_outage_is_told_with_what_was_decided_meanwhile(
    heartbeats: Heartbeats, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The breaker's state at once, in both directions; the decisions without the store are told after it as well."""
    monkeypatch.setattr(heartbeat, "HEARTBEAT_INTERVAL_S", NEVER_S)
    metrics = Metrics()
    heart = Heartbeat(heartbeats, RuleCache(), metrics, version="1", rules_source="file")
    task = asyncio.create_task(heart.run())
    try:
        quiet = await until_reported(heartbeats, "a closed breaker", lambda state: not state.breaker_open)
        metrics.record_breaker(BreakerState.OPEN, now_open=1)
        metrics.record_decision(degraded_decision(at_ms=quiet.seen_ms), 0.001)
        during = await until_reported(heartbeats, "an open breaker", lambda state: state.breaker_open)
        metrics.record_breaker(BreakerState.CLOSED, now_open=0)
        after = await until_reported(heartbeats, "a closed breaker", lambda state: not state.breaker_open)
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=WITHIN_S)

    assert [(0, 0), (1, quiet.seen_ms), (1, quiet.seen_ms)] == [
        (state.degraded_decisions, state.degraded_ms) for state in (quiet, during, after)
    ]


async def test_a_silent_store_does_not_end_the_heart(workspace: str, tmp_path: Any) -> None:
    """Without a store a report is simply not made, and the next one tells that."""
    client = connect(f"unix://{tmp_path}/none", StoreTimeouts())
    heart = Heartbeat(Heartbeats(client, workspace=workspace), RuleCache(), Metrics(), version="1", rules_source="file")
    await heart._beat()
    await heart.stop()
    await client.aclose()

    assert not heart.report().store_ok
