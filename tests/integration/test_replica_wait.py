"""`wait_for_replica`: an admission that no replica has is none, and concerns nobody whose rules do not ask for it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from ledger.connection import StoreTimeouts, connect
from ledger.decisions import Decision, Operation
from ledger.errors import StoreUnavailable
from ledger.operations import Admission, sent_text
from ledger.plans import compile_plan
from ledger.redis_ledger import RedisLedger
from ledger.script_connection import ScriptConnection
from sidecar import service
from sidecar.listeners import Listeners
from tests.support.apps import Answer, ask, open_session
from tests.support.books import every_window, new_workspace, read_books
from tests.support.ledger_under_test import rule, rules
from tests.support.processes import template, write_rules
from tests.support.servers import HOST, STEADY_MS, SentinelStore, sentinel_store, until
from tests.support.service_thread import sidecar_in_a_thread

WAIT_SHARE: Final = 0.03
"""Of ten seconds: so long a call waits for a replica. Everything else of a sidecar is patient."""
ANSWER_S: Final = 60.0
PATIENT_MS: Final = 10_000
"""Less than the 15 s after which a connection of programs gives up a reply."""


@pytest.fixture(scope="module")
def store() -> Iterator[SentinelStore]:
    """A primary with one replica."""
    with sentinel_store(down_after_ms=STEADY_MS) as running:
        yield running


@pytest.fixture
def workspace() -> str:
    """Return a workspace of its own."""
    return new_workspace()


@pytest.fixture
def sidecar(
    tmp_path: Path, store: SentinelStore, workspace: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Listeners]:
    """Run a sidecar whose tier `sure` waits for a replica; it names the primary, so that no failover is in the way."""
    monkeypatch.setattr(service, "REPLICA_WAIT_SHARE", WAIT_SHARE)
    rules = write_rules(tmp_path / "rules.yaml", template("sure", 100, wait_for_replica=True), template("free", 100))
    url = f"redis://{HOST}:{store.primary_port}"
    with sidecar_in_a_thread(tmp_path / "data", url, workspace=workspace, rules=rules) as running:
        yield running


async def _check(session: aiohttp.ClientSession, sidecar: Listeners, tier: str, request_id: str) -> Answer:
    body: dict[str, Any] = {"user_id": f"{tier}-ada", "tier": tier, "cost_usd": 0.01, "request_id": request_id}
    return await ask(session, f"{sidecar.decision_url}/v1/check", body)


async def _sure(session: aiohttp.ClientSession, sidecar: Listeners, request_id: str) -> Answer:
    """Check until a replica was quick enough: on a machine that stalls not every one is."""
    async with asyncio.timeout(ANSWER_S):
        while not (answer := await _check(session, sidecar, "sure", request_id)).is_exact:
            pass
    return answer


async def test_a_call_is_admitted_once_a_replica_has_it(
    sidecar: Listeners, store: SentinelStore, workspace: str
) -> None:
    """With a replica it is exact; with a frozen one it is refused, nobody else is, and its repeat is charged once."""
    replica = next(server for server in store.servers if server.port != store.primary_port)
    async with open_session() as session:
        before = await _sure(session, sidecar, "before")
        replica.freeze()
        try:
            refused = [await _check(session, sidecar, "sure", f"frozen-{number}") for number in range(6)]
            other = [await _check(session, sidecar, "free", f"other-{number}") for number in range(6)]
        finally:
            replica.thaw()
        with store.primary.client() as client:
            until(lambda: client.wait(1, 1000) == 1, "a replica that follows")
        repeated = [await _sure(session, sidecar, f"frozen-{number}") for number in range(6)]
    books = await read_books(store.url, workspace)

    assert (True, True) == (before.is_exact, before.document["allowed"])
    assert {(False, False, "store_unavailable")} == {
        (each.is_exact, each.document["allowed"], each.document["reason"]) for each in refused
    }
    assert [True] * 12 == [each.is_exact and each.document["allowed"] for each in [*other, *repeated]]
    assert (every_window(70_000_000), []) == (books.spend("sure-ada"), books.report.differences)


async def test_a_repeat_on_another_connection_waits_again(store: SentinelStore, workspace: str) -> None:
    """What the first run wrote is nothing that the new connection has written; the answer waits for it all the same."""
    replica = next(server for server in store.servers if server.port != store.primary_port)
    client = connect(f"redis://{HOST}:{store.primary_port}", StoreTimeouts(connect_ms=10_000, command_ms=10_000))
    admission = _admission(await RedisLedger(client, workspace=workspace).store_time_ms())
    replica.freeze()
    try:
        for _ in range(2):
            connection = ScriptConnection(client)
            ledger = RedisLedger(client, workspace=workspace, connections={"admit": connection}, replica_wait_ms=300)
            with pytest.raises(StoreUnavailable) as raised:
                await ledger.admit([admission])
            assert "not_replicated" == raised.value.code
            await connection.aclose()
    finally:
        replica.thaw()
    connection = ScriptConnection(client)
    ledger = RedisLedger(client, workspace=workspace, connections={"admit": connection}, replica_wait_ms=PATIENT_MS)
    (answer,) = await ledger.admit([admission])
    await connection.aclose()
    await client.aclose()
    assert isinstance(answer, Decision)
    assert (True, True) == (answer.allowed, answer.replayed)


def _admission(now_ms: int) -> Admission:
    plan = compile_plan(rules(rule("sure-bob", 100, wait_for_replica=True)), "sure-bob", None, now_ms)
    return Admission(
        operation=Operation.CHECK,
        plan=plan,
        request_id="repeated",
        user_id="sure-bob",
        amount_nanos=1,
        sent=sent_text(Operation.CHECK, None, "1", 0),
        not_after_ms=now_ms + 600_000,
        attempt="one",
    )
