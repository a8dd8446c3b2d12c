"""Work that a cancellation follows: it ends, whoever waits hears of the cancellation, and no failure is lost."""

import asyncio

import pytest

from ledger.uncut import uncut

DEADLINE_S = 60.0


async def test_work_gives_its_result() -> None:
    """Nobody cancelled."""
    assert 7 == await uncut(asyncio.sleep(0, 7))


async def test_a_failure_of_the_work_is_raised() -> None:
    """As if it were awaited."""

    async def fails() -> None:
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        await uncut(fails())


@pytest.mark.parametrize("failure", [None, OSError("full")])
async def test_who_is_cancelled_waits_for_the_end(failure: OSError | None) -> None:
    """Catches a lock that is let go while a thread still writes, and a failure that nobody is told of."""
    begun, may_end, ended = asyncio.Event(), asyncio.Event(), []

    async def work() -> None:
        begun.set()
        await may_end.wait()
        ended.append(True)
        if failure is not None:
            raise failure

    task = asyncio.create_task(uncut(work()))
    async with asyncio.timeout(DEADLINE_S):
        await begun.wait()
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        before = (task.done(), list(ended))
        may_end.set()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task

    assert ((False, []), [True]) == (before, ended)
    assert caught.value.__cause__ is failure
