"""The journal of a real sidecar: a disk that is full, a lost store, and the commands that look into it."""

import asyncio
import json
import resource
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest

from cli.main import main
from ledger.connection import connect
from sidecar.journal_files import journal_directories
from sidecar.journal_report import inspect_journal
from tests.chaos.recovery import metric, until_quiet
from tests.support.apps import Answer, ask, open_session
from tests.support.books import PATIENT, Books, every_window, new_workspace, read_books
from tests.support.processes import SidecarProcess, running_sidecar, template, write_rules
from tests.support.stores import StoreProcess, store_process

COST_NANOS = 1_000_000
CALLS = 10
WITHIN_S = 60.0


@pytest.fixture
def store() -> Iterator[StoreProcess]:
    """Run a store of one's own."""
    with store_process() as running:
        yield running


@pytest.fixture
def workspace() -> str:
    """Return a workspace of its own."""
    return new_workspace()


@pytest.fixture
def sidecar(tmp_path: Path, store: StoreProcess, workspace: str) -> Iterator[SidecarProcess]:
    """Run a sidecar that lets calls of the tier free through without its store, and none of the tier pro."""
    rules = write_rules(
        tmp_path / "rules.yaml", template("free", 1000, on_store_failure="allow"), template("pro", 1000)
    )
    with running_sidecar(tmp_path, store.url, rules, workspace=workspace, breaker_pause_ms=100) as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session."""
    async with open_session() as opened:
        yield opened


async def checks(
    session: aiohttp.ClientSession, sidecar: SidecarProcess, name: str, tier: str = "free"
) -> list[Answer]:
    """Check ten times under ids of one's own."""
    body = {"user_id": f"{tier}-ada", "tier": tier, "cost_usd": COST_NANOS / 1e9}
    calls = [{**body, "request_id": f"{name}-{number}"} for number in range(CALLS)]
    return [await ask(session, f"{sidecar.url}/v1/check", call) for call in calls]


async def spent(url: str, workspace: str, user_id: str, calls: int) -> Books:
    """Return the books once so many calls are charged, or after a while."""
    deadline = time.monotonic() + WITHIN_S
    books = await read_books(url, workspace)
    while books.spend(user_id) != every_window(calls * COST_NANOS) and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
        books = await read_books(url, workspace)
    return books


async def until_kept(data_dir: Path, operations: int) -> None:
    """Wait until so many acknowledged operations are on disk."""
    (directory,) = journal_directories(data_dir)
    async with asyncio.timeout(WITHIN_S):
        while inspect_journal(directory).done.total() < operations:  # noqa: ASYNC110 - a file sends no event
            await asyncio.sleep(0.02)


def limit_files(sidecar: SidecarProcess, size: int) -> None:
    """Let no file of a sidecar grow past a size."""
    resource.prlimit(sidecar.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


async def test_nothing_is_let_through_that_the_disk_cannot_keep(
    sidecar: SidecarProcess, store: StoreProcess, workspace: str, session: aiohttp.ClientSession
) -> None:
    """Without the store and with a full disk calls are refused, and told by a metric; with room again they are not."""
    assert {True} == {answer.is_exact for answer in await checks(session, sidecar, "before")}
    store.kill()
    kept = await checks(session, sidecar, "kept")
    limit_files(sidecar, 64)
    refused = await checks(session, sidecar, "refused")
    limit_files(sidecar, resource.RLIM_INFINITY)
    again = await checks(session, sidecar, "again")
    failures = await metric(sidecar, "spendgate_journal_failures_total")
    store.start()
    books = await spent(store.url, workspace, "free-ada", 3 * CALLS)

    verdicts = [{answer.document["allowed"] for answer in answers} for answers in (kept, refused, again)]
    assert [{True}, {False}, {True}] == verdicts
    assert failures >= CALLS
    assert every_window(3 * CALLS * COST_NANOS) == books.spend("free-ada")
    assert [] == books.report.differences


async def test_an_emptied_store_is_filled_again_and_a_second_replay_changes_nothing(
    sidecar: SidecarProcess,
    store: StoreProcess,
    workspace: str,
    session: aiohttp.ClientSession,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """FLUSHALL; the sidecar brings all of it back by itself, and the command finds everything known."""
    assert {True} == {answer.is_exact for answer in await checks(session, sidecar, "one", "pro")}
    owner = {"user_id": "pro-ada", "request_id": "hold"}
    await ask(session, f"{sidecar.url}/v1/reserve", {**owner, "tier": "pro", "estimate_usd": 0.5})
    client = connect(store.url, PATIENT)
    await client.flushall()
    await client.aclose()
    books = await spent(store.url, workspace, "pro-ada", CALLS)
    assert (every_window(CALLS * COST_NANOS), every_window(500_000_000)) == (
        books.spend("pro-ada"),
        books.held("pro-ada"),
    )
    await until_quiet([sidecar])
    settled = await ask(session, f"{sidecar.url}/v1/settle", {**owner, "cost_usd": 0})
    assert settled.is_exact
    data_dir = str(sidecar.log.parent / "data")
    await until_kept(Path(data_dir), CALLS + 2)
    words = ["--data-dir", data_dir, "--redis-url", store.url, "--workspace", workspace]
    assert 0 == await asyncio.to_thread(main, ["journal", "replay", *words, "--json"])
    results = json.loads(capsys.readouterr().out)
    assert {"known": CALLS + 2} == results
    books = await read_books(store.url, workspace)
    assert (every_window(CALLS * COST_NANOS), every_window(0)) == (books.spend("pro-ada"), books.held("pro-ada"))
    assert 0 == main(["journal", "inspect", "--data-dir", data_dir])
    assert "10 check, 1 reserve, 1 settle" in capsys.readouterr().out


def test_a_directory_without_a_journal_is_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message says which flag names another one."""
    assert 2 == main(["journal", "inspect", "--data-dir", str(tmp_path)])
    assert "--data-dir" in capsys.readouterr().err
