"""The ledgers that the suite of this directory runs against, and a sidecar's edge with a raw caller."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import fakeredis
import pytest
import pytest_asyncio
import redis.asyncio

from sidecar.api.quick_answers import KnownHead, QuickAnswers
from tests.conftest import server_binaries
from tests.support.edge import Edge, running_edge
from tests.support.ledger_under_test import LedgerUnderTest, memory_under_test
from tests.support.raw_caller import Caller
from tests.support.redis_under_test import redis_under_test


@pytest.fixture(params=["memory", "fakeredis", *sorted(server_binaries())])
async def ledger(request: pytest.FixtureRequest) -> AsyncIterator[LedgerUnderTest]:
    """A fresh ledger of each kind, its clock at 2026-01-31 12:00 UTC."""
    if request.param == "memory":
        yield memory_under_test()
    elif request.param == "fakeredis":
        async with fakeredis.FakeAsyncRedis() as client:
            yield await redis_under_test(client, shebang=False)
    else:
        url = request.getfixturevalue(f"{request.param}_url")
        async with redis.asyncio.Redis.from_url(url) as client:
            yield await redis_under_test(client)


@pytest_asyncio.fixture(loop_scope="function")
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    """An edge with a bound of bodies."""
    async with running_edge(tmp_path, max_body_bytes=262_144) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="function")
async def caller(edge: Edge) -> AsyncIterator[Caller]:
    """A connection to the edge."""
    opened = await Caller.open(edge)
    yield opened
    await opened.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Lists the bodies that were answered without aiohttp."""
    bodies: list[bytes] = []
    start = QuickAnswers.start

    def counted(self: QuickAnswers, known: KnownHead, body: bytes, write: Callable[[bytes], None]) -> bool:
        is_answered = start(self, known, body, write)
        bodies.extend([body] * is_answered)
        return is_answered

    monkeypatch.setattr(QuickAnswers, "start", counted)
    return bodies
