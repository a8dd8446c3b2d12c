"""A store that does not answer: frozen, killed, or not there yet. Decisions arrive in time, and it ends exactly."""

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from tests.support.apps import Answer, Call, ask, ask_all, open_session
from tests.support.books import Books, every_window, new_workspace, read_books
from tests.support.processes import SidecarProcess, running_sidecar, template, write_rules
from tests.support.stores import ALWAYS, StoreProcess, store_process

DEADLINE_MS: Final = 2000
FAR_OFF_MS: Final = 10_000
BOUND_S: Final = 0.8 * FAR_OFF_MS / 1000
"""Above the deadline, for machines that stall, and below what a call takes that the deadline does not end.

The deadline itself is no shorter because what is let through has to be on disk within it, else it is refused."""
BACK_WITHIN_S: Final = 60.0
AT_A_TIME: Final = 20
CALLS: Final = 60
COST_NANOS: Final = 10_000_000
PUSH_TOKEN: Final = "token-of-the-push"
# The command's timeout is not shorter than the deadline, so that a decision's `not_after` has passed when it arrives.
TIMEOUTS: Final = {"deadline_ms": DEADLINE_MS, "command_timeout_ms": DEADLINE_MS}


@pytest.fixture
def workspace() -> str:
    """Return a workspace of its own."""
    return new_workspace()


@pytest.fixture
def store() -> Iterator[StoreProcess]:
    """Run a store of its own."""
    with store_process(appendfsync=ALWAYS) as running:
        yield running


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    """Return rules that block free users and warn pro users, both far from their limits."""
    return write_rules(tmp_path / "rules.yaml", template("free", 100), template("pro", 100, action="warn"))


@pytest.fixture
def sidecar(tmp_path: Path, store: StoreProcess, rules: Path, workspace: str) -> Iterator[SidecarProcess]:
    """Run a sidecar over the store."""
    with running_sidecar(tmp_path, store.url, rules, workspace=workspace, **TIMEOUTS) as running:
        yield running


def _checks(sidecar: SidecarProcess, tier: str, *, name: str = "call", **fields: object) -> list[Call]:
    owner = {"user_id": f"{tier}-ada", "tier": tier, "cost_usd": 0.01, **fields}
    return [(f"{sidecar.url}/v1/check", {"request_id": f"{name}-{number}", **owner}) for number in range(CALLS)]


@dataclass(frozen=True, slots=True)
class Timed:
    """An answer and how long it took, in seconds."""

    answer: Answer
    elapsed_s: float


async def _timed(session: aiohttp.ClientSession, calls: Sequence[Call]) -> list[Timed]:
    async def one(url: str, body: Any) -> Timed:
        started = time.perf_counter()
        answer = await ask(session, url, body)
        return Timed(answer, time.perf_counter() - started)

    timed: list[Timed] = []
    for start in range(0, len(calls), AT_A_TIME):
        timed += await asyncio.gather(*[one(*call) for call in calls[start : start + AT_A_TIME]])
    return timed


async def _until_exact(session: aiohttp.ClientSession, sidecar: SidecarProcess) -> None:
    """Ask in the name of somebody else until the ledger answers itself."""
    body = {"user_id": "prober", "cost_usd": 0}
    async with asyncio.timeout(BACK_WITHIN_S):
        while not (await ask(session, f"{sidecar.url}/v1/check", body)).is_exact:
            pass


async def _ask_until_exact(session: aiohttp.ClientSession, calls: Sequence[Call]) -> list[Answer]:
    """Ask all, and again what a busy machine had answered without the ledger."""
    answers = await ask_all(session, calls)
    async with asyncio.timeout(BACK_WITHIN_S):
        while not all(answer.is_exact for answer in answers):
            answers = await ask_all(session, calls)
    return answers


def _verdicts(timed: Sequence[Timed]) -> set[tuple[object, ...]]:
    documents = [each.answer.document for each in timed]
    return {(each["allowed"], each["degraded"], each["reason"]) for each in documents}


@pytest.mark.parametrize(("tier", "allowed"), [("free", False), ("pro", True)])
@pytest.mark.parametrize(("deadline_ms", "command_timeout_ms"), [(DEADLINE_MS, FAR_OFF_MS), (FAR_OFF_MS, DEADLINE_MS)])
async def test_a_frozen_store_is_answered_for_by_the_rules(
    tmp_path: Path,
    store: StoreProcess,
    rules: Path,
    tier: str,
    allowed: bool,
    deadline_ms: int,
    command_timeout_ms: int,
) -> None:
    """Block rules deny and warn rules allow, in time and degraded; catches a fail-open, and calls that hang.

    The shorter one holds, the deadline or a command's own timeout.
    """
    settings = {"deadline_ms": deadline_ms, "command_timeout_ms": command_timeout_ms}
    with running_sidecar(tmp_path, store.url, rules, **settings) as sidecar:
        async with open_session() as session:
            await _until_exact(session, sidecar)
            store.freeze()
            timed = await _timed(session, _checks(sidecar, tier))

    assert {(allowed, True, "store_unavailable")} == _verdicts(timed)
    assert max(each.elapsed_s for each in timed) < BOUND_S


async def test_what_was_sent_to_a_frozen_store_is_not_admitted_later(
    sidecar: SidecarProcess, store: StoreProcess, workspace: str
) -> None:
    """Scripts that run after their callers were answered write nothing; catches a missing or ignored `not_after`."""
    async with open_session() as session:
        await _until_exact(session, sidecar)
        store.freeze()
        await _timed(session, [*_checks(sidecar, "free"), *_checks(sidecar, "pro")])
        store.thaw()
        await _until_exact(session, sidecar)
    books = await _charged(store.url, workspace, "pro-ada")

    allowed = every_window(CALLS * COST_NANOS)  # By the journal, once.
    assert ({}, allowed) == (books.spend("free-ada"), books.spend("pro-ada"))
    assert [] == books.report.differences


async def test_repeats_after_a_freeze_are_charged_once(
    sidecar: SidecarProcess, store: StoreProcess, workspace: str
) -> None:
    """Ids from before, during and after a freeze are each charged once; catches a repeat under another id or record."""
    calls = [*_checks(sidecar, "free"), *_checks(sidecar, "pro")]
    async with open_session() as session:
        await _until_exact(session, sidecar)
        asking = [asyncio.create_task(ask(session, *call)) for call in calls[:-AT_A_TIME]]
        await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
        store.freeze()
        await asyncio.gather(*asking)
        unheard = await _timed(session, calls[-AT_A_TIME:])
        store.thaw()
        await _until_exact(session, sidecar)
        repeated = await _ask_until_exact(session, calls)
    books = await read_books(store.url, workspace)

    assert [] == [each for each in unheard if each.answer.is_exact]
    assert all(answer.document["allowed"] for answer in repeated)
    assert (every_window(CALLS * COST_NANOS),) * 2 == (books.spend("free-ada"), books.spend("pro-ada"))
    assert [] == books.report.differences


async def _charged(url: str, workspace: str, user_id: str) -> Books:
    """Return the books once a user's calls are charged."""
    deadline = time.monotonic() + BACK_WITHIN_S
    books = await read_books(url, workspace)
    while books.spend(user_id) != every_window(CALLS * COST_NANOS) and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
        books = await read_books(url, workspace)
    return books


async def _settled(url: str, workspace: str) -> Books:
    """Return the books once nothing is held any more."""
    deadline = time.monotonic() + BACK_WITHIN_S
    while (books := await read_books(url, workspace)).report.held_nanos and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    return books


async def test_a_settle_without_the_store_is_accepted_and_its_repeat_charges_once(
    sidecar: SidecarProcess, store: StoreProcess, workspace: str
) -> None:
    """It is in the journal, in time; catches a settle that is lost, or charged again."""
    owner = {"request_id": "call", "user_id": "ada"}
    async with open_session() as session:
        await _until_exact(session, sidecar)
        await ask(session, f"{sidecar.url}/v1/reserve", {**owner, "tier": "free", "estimate_usd": 0.5})
        store.freeze()
        (timed,) = await _timed(session, [(f"{sidecar.url}/v1/settle", {**owner, "cost_usd": 0.01})])
        store.thaw()
        await _until_exact(session, sidecar)
        (repeated,) = await ask_all(session, [(f"{sidecar.url}/v1/settle", {**owner, "cost_usd": 0.01})])
    books = await _settled(store.url, workspace)

    assert (200, True) == (timed.answer.status, timed.answer.document["degraded"])
    assert timed.elapsed_s < BOUND_S
    assert (200, every_window(COST_NANOS), every_window(0)) == (repeated.status, books.spend("ada"), books.held("ada"))


async def test_much_that_was_sent_into_a_freeze_does_not_block_the_way_back(
    sidecar: SidecarProcess, store: StoreProcess
) -> None:
    """With full socket buffers the connection is dropped and a new one used; catches a reader that waits for ever."""
    meta = {f"note-{number}": "x" * 50 for number in range(15)}
    async with open_session() as session:
        await _until_exact(session, sidecar)
        store.freeze()
        for number in range(5):
            calls = [
                *_checks(sidecar, "pro", name=f"{number}-a", meta=meta),
                *_checks(sidecar, "pro", name=f"{number}-b"),
            ]
            await asyncio.gather(*[ask(session, *call) for call in calls])
        store.thaw()
        await _until_exact(session, sidecar)


async def test_a_start_without_the_store_is_answered_for_by_the_rules(
    tmp_path: Path, rules: Path, workspace: str
) -> None:
    """A sidecar serves before its store is there and is exact once it is; catches a start that waits or gives up."""
    with (
        store_process(started=False) as store,
        running_sidecar(tmp_path, store.url, rules, workspace=workspace, **TIMEOUTS) as sidecar,
    ):
        async with open_session() as session:
            without = await _timed(session, [*_checks(sidecar, "free"), *_checks(sidecar, "pro")])
            store.start()
            await _until_exact(session, sidecar)
            answers = await _ask_until_exact(session, _checks(sidecar, "free"))
        books = await _charged(store.url, workspace, "pro-ada")

    assert {(False, True, "store_unavailable"), (True, True, "store_unavailable")} == _verdicts(without)
    assert max(each.elapsed_s for each in without) < BOUND_S
    assert all(answer.document["allowed"] for answer in answers)
    spent = every_window(CALLS * COST_NANOS)  # Also what was allowed without the store: the journal brings it there.
    assert (spent, spent) == (books.spend("free-ada"), books.spend("pro-ada"))


async def test_a_start_without_store_and_file_knows_the_pushed_rules(tmp_path: Path, workspace: str) -> None:
    """The last pushed rule set decides after a restart without anyone's help; catches rules that are not kept."""
    pushed = {"revision": 3, "rules": [template("free", 1), template("pro", 1, action="warn")]}
    settings = {"workspace": workspace, "push_token": PUSH_TOKEN, **TIMEOUTS}
    with store_process(started=False) as store:
        async with open_session() as session:
            with running_sidecar(tmp_path, store.url, None, **settings) as sidecar:
                headers = {"Authorization": f"Bearer {PUSH_TOKEN}"}
                async with session.put(f"{sidecar.url}/v1/rules", json=pushed, headers=headers) as response:
                    assert 200 == response.status
            with running_sidecar(tmp_path, store.url, None, **settings) as sidecar:
                calls = [_checks(sidecar, "free")[0], _checks(sidecar, "pro")[0]]
                answers = [answer.document for answer in await ask_all(session, calls)]

    assert [(False, 3), (True, 3)] == [(each["allowed"], each["rules_revision"]) for each in answers]


async def test_a_killed_store_has_every_acknowledged_charge(
    sidecar: SidecarProcess, store: StoreProcess, workspace: str
) -> None:
    """What was answered exactly is in the append-only file; catches answers that leave before the write does."""
    calls = _checks(sidecar, "free")
    async with open_session() as session:
        await _until_exact(session, sidecar)
        asking = [asyncio.create_task(ask(session, *call)) for call in calls]
        for first in asyncio.as_completed(asking):
            if (await first).is_exact:
                break
        store.kill()
        answers = await asyncio.gather(*asking)
        store.start()
        books = await read_books(store.url, workspace)
        await _until_exact(session, sidecar)
        repeated = await _ask_until_exact(session, calls)
    after = await read_books(store.url, workspace)

    acknowledged = {answer.document["request_id"] for answer in answers if answer.is_exact}
    assert acknowledged
    assert set() == acknowledged - {record.request_id for record in books.snapshot.records}
    assert all(answer.document["allowed"] for answer in repeated)
    assert (every_window(CALLS * COST_NANOS), []) == (after.spend("free-ada"), after.report.differences)
