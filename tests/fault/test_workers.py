"""Several workers behind one port: one counter, restarts without losses, no orphans."""

import asyncio
import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.apps import Answer, ask, ask_all, open_session
from tests.support.books import new_workspace, read_books
from tests.support.processes import SidecarProcess, launch, running_sidecar, template, write_rules
from tests.support.stores import store_process

WORKERS: Final = 3
DEADLINE_S: Final = 60.0
POLL_S: Final = 0.02


@contextmanager
def _workers(directory: Path, redis_url: str, workspace: str, **settings: object) -> Iterator[SidecarProcess]:
    rules = write_rules(directory / "rules.yaml", template("free", 1))
    with running_sidecar(directory, redis_url, rules, workspace=workspace, workers=WORKERS, **settings) as sidecar:
        yield sidecar


@asynccontextmanager
async def _house(directory: Path, workspace: str, **settings: object) -> Any:
    """Run workers over a store of their own, started and stopped off the event loop."""
    with store_process() as store:
        manager = _workers(directory, store.url, workspace, **settings)
        sidecar = await asyncio.to_thread(manager.__enter__)
        try:
            yield sidecar, store
        finally:
            await asyncio.to_thread(manager.__exit__, None, None, None)


def _check(url: str, number: int, **changes: object) -> tuple[str, dict[str, object]]:
    body = {"request_id": f"call-{number}", "user_id": "ada", "tier": "free", "cost_usd": 0.01}
    return f"{url}/v1/check", body | changes


def _children(process: "subprocess.Popen[bytes]") -> list[int]:
    """Return the process ids of the workers."""
    return [int(word) for word in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


async def _decisions(session: aiohttp.ClientSession, sidecar: SidecarProcess) -> "Counter[str]":
    """Return how many decisions each worker counts."""
    async with session.get(f"{sidecar.admin_url}/metrics") as response:
        families = list(text_string_to_metric_families(await response.text()))
    counts: Counter[str] = Counter()
    for family in families:
        for sample in family.samples:
            if sample.name == "spendgate_decision_seconds_count":
                counts[sample.labels["worker"]] += int(sample.value)
    return counts


async def _until_workers(session: aiohttp.ClientSession, sidecar: SidecarProcess, number: int) -> "Counter[str]":
    """Return what they count once all answer: a scrape leaves out a worker that does not within a second."""
    async with asyncio.timeout(DEADLINE_S):
        while len(counts := await _decisions(session, sidecar)) < number:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(POLL_S)
    return counts


async def _until_ready(session: aiohttp.ClientSession, sidecar: SidecarProcess) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while True:
            async with session.get(f"{sidecar.admin_url}/readyz") as response:
                if response.status == 200:
                    return
            await asyncio.sleep(POLL_S)


async def test_workers_share_one_counter(tmp_path: Path) -> None:
    """Of 300 calls of a cent against a dollar exactly 100 pass, whoever answers; every worker answers some."""
    workspace = new_workspace()
    async with _house(tmp_path, workspace) as (sidecar, store), open_session() as session:
        answers = await ask_all(session, [_check(sidecar.url, number) for number in range(300)], at_a_time=100)
        counted = await _until_workers(session, sidecar, WORKERS)
        await _until_ready(session, sidecar)
        books = await read_books(store.url, workspace)

    assert sum(answer.document["allowed"] for answer in answers) == 100
    assert (300, WORKERS) == (counted.total(), len([each for each in counted.values() if each]))
    assert (1_000_000_000, []) == (books.spend("ada")["month"], books.report.differences)


async def test_a_worker_that_is_killed_is_started_again(tmp_path: Path) -> None:
    """Callers repeat what was not answered; every id is charged once, and all workers are back."""
    workspace, numbers, answered = new_workspace(), count(), set[str]()

    async def call_on() -> None:
        while not done.is_set():
            url, body = _check(sidecar.url, next(numbers), user_id="eve", cost_usd=0.001)
            while True:
                try:
                    answer: Answer = await ask(session, url, body | {"tier": "none"})
                except aiohttp.ClientError:
                    continue
                break
            assert answer.is_exact
            answered.add(str(body["request_id"]))

    done = asyncio.Event()
    async with _house(tmp_path, workspace) as (sidecar, store), open_session() as session:
        calls = [asyncio.create_task(call_on()) for _ in range(30)]
        for victim in _children(sidecar.process)[:2]:
            os.kill(victim, signal.SIGKILL)
            await _until_workers(session, sidecar, WORKERS)
        done.set()
        await asyncio.gather(*calls)
        alive = _children(sidecar.process)
        books = await read_books(store.url, workspace)

    assert len(alive) == WORKERS
    assert answered == {record.request_id for record in books.snapshot.records}
    assert [] == books.report.differences


def test_workers_end_with_their_supervisor(tmp_path: Path) -> None:
    """Even when it is killed and can tell nobody."""
    rules = write_rules(tmp_path / "rules.yaml", template("free", 1))
    with store_process() as store, running_sidecar(tmp_path, store.url, rules, workers=WORKERS) as sidecar:
        orphans = _children(sidecar.process)
        sidecar.process.kill()
        sidecar.process.wait()
        deadline = time.monotonic() + DEADLINE_S
        while _alive(orphans) and time.monotonic() < deadline:
            time.sleep(POLL_S)
        assert (WORKERS, []) == (len(orphans), _alive(orphans))


def _alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


async def test_whatever_was_charged_was_answered_when_workers_stop(tmp_path: Path) -> None:
    """SIGTERM under load: exit code 0, no charge without its answer."""
    workspace, numbers, answers = new_workspace(), count(), list[Answer]()

    async def call_on() -> None:
        while True:
            try:
                answers.append(await ask(session, *_check(sidecar.url, next(numbers), cost_usd=0)))
            except aiohttp.ClientError:
                return

    async with _house(tmp_path, workspace) as (sidecar, store), open_session() as session:
        calls = [asyncio.create_task(call_on()) for _ in range(30)]
        async with asyncio.timeout(DEADLINE_S):
            while len(answers) < 300:  # noqa: ASYNC110 - the callers fill the list
                await asyncio.sleep(0)
        code = await asyncio.to_thread(sidecar.stop)
        await asyncio.gather(*calls)
        books = await read_books(store.url, workspace)

    assert (0, True) == (code, all(answer.is_exact for answer in answers))
    assert {answer.document["request_id"] for answer in answers} == {each.request_id for each in books.snapshot.records}


async def test_workers_serve_a_unix_socket(tmp_path: Path) -> None:
    """Any of them accepts from it, and it is gone when they are."""
    path = tmp_path / "decisions.sock"
    session = aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path)))
    async with _house(tmp_path, new_workspace(), unix_socket=path), session:
        answer = await ask(session, *_check("http://localhost", 1))
    assert answer.document["allowed"]
    assert not await asyncio.to_thread(path.exists)


@pytest.mark.parametrize(
    ("rules", "settings", "message"),
    [
        ({"rules": [{"kind": "none"}]}, {}, "rules[0].kind"),
        ({"rules": []}, {"rules_source": "push", "push_token": "a-token-of-a-test-run"}, "SPENDGATE_RULES"),
    ],
)
def test_what_makes_a_start_impossible_is_told(
    tmp_path: Path, rules: dict[str, object], settings: dict[str, object], message: str
) -> None:
    """The exit code is not 0, the log names the fault, and no worker is left."""
    path = tmp_path / "rules.yaml"
    path.write_text(json.dumps(rules))
    process = launch(tmp_path, "redis://127.0.0.1:1/0", path, workers=WORKERS, **settings)
    assert process.wait(DEADLINE_S) != 0
    assert message in (tmp_path / "log").read_text()
