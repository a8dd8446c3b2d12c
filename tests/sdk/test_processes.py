"""One client for many threads, many event loops, and forked children."""

import asyncio
import gc
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from spendgate import AsyncSpendgate, Hold, Spendgate

from tests.support.sdk_gates import TIMEOUT_S, settled_usage, spend_text

pytestmark = pytest.mark.usefixtures("each_transport")


def test_threads_share_a_client(url: str, user: str) -> None:
    """Sixteen threads hold and settle through one client; every cent is there afterwards."""

    def call(_: int) -> None:
        with gate.hold(user, estimate_usd="0.01") as hold:
            hold.settle(cost_usd="0.005")

    with Spendgate(url, timeout_s=TIMEOUT_S) as gate:
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(call, range(160)))

        assert "0.8" == spend_text(settled_usage(gate, user))


def test_event_loops_share_a_client(url: str, user: str) -> None:
    """A client that is made once serves one `asyncio.run` after the other, and several at once in threads."""
    gate = AsyncSpendgate(url, timeout_s=TIMEOUT_S)

    async def calls() -> None:
        for _ in range(10):
            async with gate.hold(user, estimate_usd="0.01") as hold:
                await hold.settle(cost_usd="0.005")
        await gate.close()

    asyncio.run(calls())
    threads = [threading.Thread(target=lambda: asyncio.run(calls())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asyncio.run(calls())

    with Spendgate(url, timeout_s=TIMEOUT_S) as reader:
        assert "0.3" == spend_text(settled_usage(reader, user))


def test_a_forked_child_has_its_own_connections_and_leaves_the_parents_holds(url: str, user: str) -> None:
    """Parent and children use a client that was made and used before the fork; the hold stays the parent's."""
    with Spendgate(url, timeout_s=TIMEOUT_S) as gate:
        holds = [gate.reserve(user, estimate_usd="0.5")]
        holds[0].note_cost("0.1")
        children = [os.fork() or _child(gate, user, holds) for _ in range(4)]
        for _ in range(20):
            gate.check(user, cost_usd="0.001")
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]

        assert [0, 0, 0, 0] == codes
        assert 1 == gate.usage(user).open_holds
        holds[0].settle(cost_usd="0.2")
        assert Decimal("0.22") + 4 * Decimal("0.02") == settled_usage(gate, user).windows[-1].spend_usd


def _child(gate: Spendgate, user: str, holds: list[Hold]) -> int:
    """What a forked worker does: calls of its own, then it ends with everything that an end runs. Never returns."""
    code = 1
    try:
        holds.clear()
        gc.collect()
        for _ in range(4):
            with gate.hold(user, estimate_usd="0.01") as hold:
                hold.settle(cost_usd="0.005")
        gate.close()
        code = 0
    finally:
        os._exit(code)
