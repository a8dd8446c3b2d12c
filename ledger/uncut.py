"""Work that a cancellation may only follow: it ends first, as whoever takes the lock next expects."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


async def uncut(work: Coroutine[Any, Any, Result]) -> Result:
    """Return what `work` returns; who is cancelled meanwhile waits for its end, and is cancelled then.

    Cancelling `asyncio.to_thread` takes back a call that still waits for a thread, and goes on beside one that runs.
    Meant for work that ends by itself, such as writing a file. A second cancellation does not wait.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled() and (failure := task.exception()) is not None:
            raise asyncio.CancelledError from failure
        raise
