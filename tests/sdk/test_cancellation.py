"""Cancelled at any of its awaits, a call leaves nothing held that was not made, and loses no cost that is known."""

import asyncio
import types
from collections.abc import Coroutine, Generator
from typing import Any

import pytest
from spendgate import AsyncSpendgate, Spendgate

from tests.support.sdk_gates import TIMEOUT_S, eventually, spend_text

pytestmark = pytest.mark.usefixtures("each_transport")

MOST_AWAITS = 200


@types.coroutine
def _cancelled_at(await_number: int, coroutine: Coroutine[Any, Any, None]) -> Generator[Any, Any, bool]:
    """Run a coroutine and cancel its task at one of its awaits; returns whether it got that far."""
    step, argument, passed = coroutine.send, None, 0
    while True:
        try:
            awaited = step(argument)
        except StopIteration:
            return passed > await_number
        if passed == await_number:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        passed += 1
        try:
            argument = yield awaited
            step = coroutine.send
        except BaseException as error:
            argument, step = error, coroutine.throw


class Call:
    """A call of an app: held, made, settled. `charged` is what it must have charged if it ends now."""

    def __init__(self, gate: AsyncSpendgate, user: str) -> None:
        self._gate = gate
        self._user = user
        self.charged = "0"

    async def settled(self) -> None:
        """Settle it by hand."""
        async with self._gate.hold(self._user, estimate_usd="0.9", ttl_s=1) as hold:
            self.charged = "0.9"
            await asyncio.sleep(0)
            self.charged = "0.25"
            await hold.settle(cost_usd="0.25")
            await asyncio.sleep(0)

    async def settled_anew(self) -> None:
        """Settle it by hand over a new connection, so that it can be cancelled before anything is sent."""
        hold = await self._gate.reserve(self._user, estimate_usd="0.9", ttl_s=1)
        async with hold:
            self.charged = "0.9"
            await self._gate._engine.close()
            self.charged = "0.25"
            await hold.settle(cost_usd="0.25")

    async def noted(self) -> None:
        """Note what it costs, and leave the settle to the end of the block."""
        hold = await self._gate.reserve(self._user, estimate_usd="0.9")
        async with hold:
            hold.note_cost("0.25")
            self.charged = "0.25"
            await asyncio.sleep(0)


@pytest.mark.parametrize("way", ["settled", "settled_anew", "noted"])
async def test_cancelled_at_every_await(url: str, user: str, way: str) -> None:
    """Each await once: first nothing is charged, then the estimate of what is held, then the cost that is known."""
    gate = AsyncSpendgate(url, timeout_s=TIMEOUT_S, tier="free")
    await gate.check(user, cost_usd=0)
    reader = Spendgate(url, timeout_s=TIMEOUT_S)
    outcomes = set()
    for number in range(MOST_AWAITS):
        name = f"{user}-{number}"
        call = Call(gate, name)
        task = asyncio.create_task(_run(_cancelled_at(number, getattr(call, way)())))
        reached = (await asyncio.gather(task, return_exceptions=True))[0]
        if reached is False:
            break
        await asyncio.to_thread(_until_charged, reader, name, call.charged)
        outcomes.add(call.charged)
    await gate.close()
    reader.close()

    assert number < MOST_AWAITS - 1
    assert {"0", "0.25"} == outcomes - {"0.9"}


def _until_charged(reader: Spendgate, user: str, usd: str) -> None:
    """Wait until nothing is held and so much is charged; a hold that expired on the way is corrected by its settle."""

    def is_so() -> bool:
        usage = reader.usage(user)
        return (usage.open_holds, spend_text(usage)) == (0, usd)

    eventually(is_so)


async def test_a_pool_survives_its_cancelled_calls(url: str, user: str) -> None:
    """Connections of calls that were cancelled are not lost: many more calls than connections still go through."""
    async with AsyncSpendgate(url, timeout_s=TIMEOUT_S, tier="free") as gate:
        for _ in range(3):
            tasks = [asyncio.create_task(gate.check(user, cost_usd=0)) for _ in range(100)]
            await asyncio.sleep(0.001)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        answers = await asyncio.gather(*(gate.check(user, cost_usd=0) for _ in range(100)))

    assert 100 == sum(answer.allowed for answer in answers)


async def _run(awaitable: Any) -> Any:
    return await awaitable
