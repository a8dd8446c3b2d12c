"""The ledgers that the suite of this directory runs against."""

from collections.abc import AsyncIterator

import fakeredis
import pytest
import redis.asyncio

from tests.conftest import server_binaries
from tests.support.ledger_under_test import LedgerUnderTest, memory_under_test
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
