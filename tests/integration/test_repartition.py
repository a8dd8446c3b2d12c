"""More partitions for a workspace that has history: nothing is lost, and an interruption at any step is carried on."""

import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest
import redis.asyncio
from redis.asyncio.client import Pipeline
from redis.exceptions import ConnectionError as RedisConnectionError

from cli.main import main
from ledger.connection import PartitionMismatch, StoreTimeouts, claim_partitions, connect
from ledger.errors import StoreUnavailable
from ledger.event_filter import EventFilter
from ledger.event_log import EventLog
from ledger.heartbeats import Heartbeats, SidecarReport
from ledger.redis_ledger import RedisLedger
from ledger.repartition import Repartitioned, Repartitioning, RepartitionRefused
from tests.conftest import running_server, server_binaries
from tests.support.books import Books, new_workspace, read_books
from tests.support.ledger_under_test import Caller, memory_under_test, rules, template
from tests.support.servers import STEADY_MS, cluster_store

BEFORE: Final = 2
AFTER: Final = 8
USERS: Final = [f"user-{number}" for number in range(12)]
TIMEOUTS: Final = StoreTimeouts(connect_ms=10_000, command_ms=10_000)
REPORT: Final = SidecarReport(
    id="sidecar-1", version="1", host="web-1", revision=1, epoch="e", store_ok=True, started_ms=7, rules_source="store"
)


@pytest.fixture(scope="module", params=["single", "cluster"])
def store_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """One server, and a Cluster where the new partitions are on other servers."""
    binary = server_binaries().get("redis", server_binaries()["valkey"])
    if request.param == "single":
        with running_server(binary) as url:
            yield url
    else:
        with cluster_store(node_timeout_ms=STEADY_MS) as cluster:
            yield cluster.url


@dataclass(frozen=True, slots=True)
class History:
    """A workspace with charges, open holds and a log, and what stood in it."""

    url: str
    workspace: str
    books: Books

    async def repartition(self, partitions: int = AFTER) -> Repartitioned:
        """Do it."""
        return await Repartitioning(self.url, self.workspace, partitions, lambda _line: None).run()

    async def events(self, partitions: int, user_id: str | None = None) -> list[tuple[str, str]]:
        """Return user and type of the log's events, newest first."""
        client = connect(self.url, TIMEOUTS)
        try:
            page = await EventLog(client, self.workspace, partitions).page(EventFilter(user_id=user_id), limit=200)
        finally:
            await client.aclose()
        return [(event.user_id, event.type) for event in page.events]


@contextlib.asynccontextmanager
async def _caller(url: str, workspace: str, partitions: int) -> AsyncIterator[Caller]:
    """Ask the ledger itself, under a limit of one dollar a month for the tier free."""
    client = connect(url, TIMEOUTS)
    try:
        await claim_partitions(client, workspace, partitions)
        memory = memory_under_test()
        ledger = RedisLedger(client, workspace=workspace, partitions=partitions)
        under_test = dataclasses.replace(memory, ledger=ledger, clock=lambda: int(time.time() * 1000))
        yield Caller(under_test, rules(template("free", 1)))
    finally:
        await client.aclose()


async def _spend(caller: Caller) -> None:
    for user in USERS:
        owner = {"user_id": user, "tier": "free"}
        await caller.check(0.5, request_id="paid", **owner)
        await caller.reserve(0.25, request_id="held", **owner)
        await caller.check(5, request_id="blocked", **owner)


@pytest.fixture
async def history(store_url: str) -> History:
    """Fill a workspace."""
    workspace = new_workspace()
    async with _caller(store_url, workspace, BEFORE) as caller:
        await _spend(caller)
    return History(store_url, workspace, await read_books(store_url, workspace))


async def _check_whole(history: History) -> None:
    """Everything is where sidecars and pages look for it now, and as it was."""
    books = await read_books(history.url, history.workspace)
    assert history.books.snapshot.counters == books.snapshot.counters
    assert history.books.snapshot.totals == books.snapshot.totals
    assert ([], history.books.report.held_nanos) == (books.report.differences, books.report.held_nanos)
    assert sorted((user, "blocked") for user in USERS) == sorted(await history.events(AFTER))
    for user in USERS:
        assert [(user, "blocked")] == await history.events(AFTER, user)


async def test_a_workspace_gets_more_partitions(history: History) -> None:
    """Counters, holds, records, totals and the log move; the next decisions see them, a settle ends its hold."""
    done = await history.repartition()
    await _check_whole(history)

    async with _caller(history.url, history.workspace, AFTER) as caller:
        for user in USERS:
            owner = {"user_id": user, "tier": "free"}
            paid = await caller.check(0.5, request_id="paid", **owner)
            more = await caller.check(0.5, request_id="more", **owner)
            await caller.settle("held", 0.1, user_id=user)
            assert (True, False) == (paid.replayed, more.allowed)
    books = await read_books(history.url, history.workspace)

    assert ([], False) == (done.after.differences, done.resumed)
    assert (0, []) == (books.report.open_holds, books.report.differences)
    assert {600_000_000} == {books.spend(user)["month"] for user in USERS}


def _failing_after(method: Callable[..., Any], count: int) -> Callable[..., Any]:
    """Return a method that works so many times and then meets a lost connection."""
    calls = iter(range(count))

    def call(*args: Any, **options: Any) -> Any:
        if next(calls, None) is None:
            raise RedisConnectionError("the store was lost")
        return method(*args, **options)

    return call


@pytest.mark.parametrize(
    ("owner", "name", "works"),
    [
        (redis.asyncio.Redis, "restore", 7),
        (redis.asyncio.Redis, "xadd", 5),
        (Pipeline, "unlink", 9),
        (redis.asyncio.Redis, "rename", 0),
        (redis.asyncio.Redis, "rename", 11),
        (redis.asyncio.Redis, "hdel", 0),
    ],
)
@pytest.mark.parametrize("store_url", ["single"], indirect=True)
async def test_an_interruption_is_carried_on(
    history: History, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, works: int
) -> None:
    """At each step: while it copies, deletes, renames and ends; nobody may start in between, and nothing is lost."""
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, _failing_after(getattr(owner, name), works))
        with pytest.raises(StoreUnavailable, match="carry on"):
            await history.repartition()
    client = connect(history.url, TIMEOUTS)
    try:
        for partitions in (BEFORE, AFTER):
            with pytest.raises(PartitionMismatch):
                await claim_partitions(client, history.workspace, partitions)
        with pytest.raises(RepartitionRefused, match="finish it first"):
            await history.repartition(2 * AFTER)
        assert (await history.repartition()).resumed
        await claim_partitions(client, history.workspace, AFTER)
    finally:
        await client.aclose()
    await _check_whole(history)


@pytest.mark.parametrize("store_url", ["single"], indirect=True)
async def test_a_running_sidecar_is_in_the_way(history: History) -> None:
    """Charges would go where nobody looks; it is refused and nothing changes."""
    client = connect(history.url, TIMEOUTS)
    try:
        await Heartbeats(client, workspace=history.workspace).report(REPORT)
    finally:
        await client.aclose()
    with pytest.raises(RepartitionRefused, match="1 sidecars run"):
        await history.repartition()

    assert history.books.snapshot.counters == (await read_books(history.url, history.workspace)).snapshot.counters


@pytest.mark.parametrize("store_url", ["single"], indirect=True)
@pytest.mark.parametrize("partitions", [1, BEFORE, 5000])
async def test_only_more_partitions_can_be_given(history: History, partitions: int) -> None:
    """Fewer, as many, or too many are refused."""
    with pytest.raises(RepartitionRefused, match="give it more"):
        await history.repartition(partitions)


@pytest.mark.parametrize("store_url", ["single"], indirect=True)
def test_the_command_says_each_step(history: History, capsys: pytest.CaptureFixture[str]) -> None:
    """Both audits and what to do next; an unknown workspace is a failure."""
    words = ["repartition", "--redis-url", history.url, "--to", str(AFTER), "--workspace"]

    assert 0 == main([*words, history.workspace])
    output = capsys.readouterr().out
    assert [True, True, True] == [text in output for text in ("audit before", "audit after", f"--partitions {AFTER}")]
    assert 1 == main([*words, "nobodys"])
