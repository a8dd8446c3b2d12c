"""A store that forgets its functions and scripts all the time: every call is decided all the same."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import redis.asyncio as redis

from tests.conftest import running_server, valkey_binary
from tests.support.apps import Answer, Call, ask_all, open_session
from tests.support.books import every_window, new_workspace, read_books
from tests.support.processes import SidecarProcess, running_sidecar, template, write_rules

CHECKS: Final = 2000
PAIRS: Final = 500
AT_A_TIME: Final = 300
COST_NANOS: Final = 1_000_000
WORKSPACE: Final = new_workspace()


@pytest.fixture
def store_url() -> Iterator[str]:
    """Run a store of its own: nobody else's scripts are forgotten, and its counts start at zero."""
    with running_server(valkey_binary()) as url:
        yield url


@pytest.fixture
def sidecar(tmp_path: Path, store_url: str) -> Iterator[SidecarProcess]:
    """Run a sidecar that is patient, so that only a lost program can fail a call."""
    rules = write_rules(tmp_path / "rules.yaml", template("free", 100))
    with running_sidecar(
        tmp_path, store_url, rules, workspace=WORKSPACE, deadline_ms=10_000, command_timeout_ms=5000
    ) as running:
        yield running


async def _flush_until(client: "redis.Redis", done: asyncio.Event) -> None:
    while not done.is_set():
        await client.function_flush()
        await client.script_flush()


async def _ask_under_flushes(store_url: str, rounds: list[list[Call]]) -> tuple[list[list[Answer]], int]:
    """Make the calls of each round while programs are forgotten; returns the answers and how often one was loaded."""
    done = asyncio.Event()
    async with redis.Redis.from_url(store_url) as client, open_session() as session:
        flushing = asyncio.create_task(_flush_until(client, done))
        answers = [await ask_all(session, calls, at_a_time=AT_A_TIME) for calls in rounds]
        done.set()
        await flushing
        commands = await client.info("commandstats")
    return answers, int(commands["cmdstat_function|load"]["calls"])


async def test_checks_do_not_notice_a_flush(sidecar: SidecarProcess, store_url: str) -> None:
    """Each check is decided exactly, and once; catches a program that is loaded once and then called by its name."""
    bodies = [{"user_id": f"user-{number % 7}", "tier": "free", "cost_usd": 0.001} for number in range(CHECKS)]
    (answers,), loaded = await _ask_under_flushes(store_url, [[(f"{sidecar.url}/v1/check", body) for body in bodies]])
    books = await read_books(store_url, WORKSPACE)

    assert [] == [answer for answer in answers if not (answer.is_exact and answer.document["allowed"])]
    assert (every_window(CHECKS * COST_NANOS), []) == (books.tier_spend("free"), books.report.differences)
    assert loaded > 1


async def test_holds_do_not_notice_a_flush(sidecar: SidecarProcess, store_url: str) -> None:
    """Each reserve holds and each settle charges once; catches a fallback that only admissions have."""
    owners = [{"request_id": f"pair-{number}", "user_id": f"user-{number % 7}"} for number in range(PAIRS)]
    reserves = [(f"{sidecar.url}/v1/reserve", {**owner, "tier": "free", "estimate_usd": 0.01}) for owner in owners]
    settles = [(f"{sidecar.url}/v1/settle", {**owner, "cost_usd": 0.001}) for owner in owners]
    (reserved, settled), loaded = await _ask_under_flushes(store_url, [reserves, settles])
    books = await read_books(store_url, WORKSPACE)

    assert [] == [answer for answer in reserved + settled if not (answer.is_exact and answer.document["allowed"])]
    assert (every_window(PAIRS * COST_NANOS), []) == (books.tier_spend("free"), books.report.differences)
    assert (0, True) == (books.report.open_holds, loaded > 1)
