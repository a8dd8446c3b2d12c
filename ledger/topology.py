"""Which server to ask: what Sentinels and Clusters have in common, and the way of a command through redirections.

A command that was redirected did not run, so that it may be sent again; one whose connection was lost may have run, and
is not. Nobody but its caller, who bounds it in time, repeats it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, Protocol, TypeVar

from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from ledger.store_url import Address

LOOKUP_PAUSE_S: Final = 0.2
"""Between the ends of two lookups: who asks sooner gets what the last one found."""

MAX_REDIRECTIONS: Final = 8
MAX_PAUSES: Final = 40
PAUSE_S: Final = 0.02
"""While a slot moves key by key, the keys of one script are on two servers: nobody can run it until all have moved."""

PAUSES: Final = (TryAgainError, ReadOnlyError, ClusterDownError)
"""A server that cannot run a command now, and did not: the slot moves, or this is no primary any more."""

REDIRECTIONS: Final = (AskError, *PAUSES)

Found = TypeVar("Found")


class Topology(Protocol):
    """What knows the servers of a store. Errors are redis-py's."""

    async def address_of(self, slot: int | None) -> Address:
        """Return the server that owns a slot, for None any server that takes writes; may ask the store."""
        ...

    async def addresses(self) -> set[Address]:
        """Return all servers that own a slot."""
        ...

    def moved(self, slot: int, address: Address) -> None:
        """Learn from a server that a slot is elsewhere."""
        ...

    def doubt(self, address: Address) -> None:
        """Learn that a server failed or takes no writes: what was found may be out of date."""
        ...

    async def aclose(self) -> None:
        """End lookups that are under way."""
        ...


class Lookup(Generic[Found]):
    """One lookup at a time for all who ask, which goes on when a caller gives up; not sooner than 0.2 s after the last.

    `look` bounds itself in time.
    """

    def __init__(self, look: Callable[[], Awaitable[Found]], *, pause_s: float = LOOKUP_PAUSE_S) -> None:
        self._look = look
        self._pause_s = pause_s
        self._task: asyncio.Task[Found] | None = None
        self._ended_s = 0.0

    async def result(self) -> Found:
        """Return what is found; raises what the lookup raised."""
        return await asyncio.shield(self.start())

    def start(self) -> "asyncio.Task[Found]":
        """Begin to look unless a lookup is under way or has just ended."""
        task, loop = self._task, asyncio.get_running_loop()
        if task is None or (task.done() and loop.time() >= self._ended_s + self._pause_s):
            task = loop.create_task(self._run())
            task.add_done_callback(self._end)
            self._task = task
        return task

    async def _run(self) -> Found:
        return await self._look()

    def _end(self, task: "asyncio.Task[Found]") -> None:
        self._ended_s = task.get_loop().time()
        if not task.cancelled():
            task.exception()  # Marked as seen: those who asked may have gone.

    async def aclose(self) -> None:
        """End the lookup that is under way."""
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])


class Router:
    """Sends commands to the server that has their slot, and after them when they are redirected."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology

    async def run(self, slot: int | None, send: Callable[[Address, bool], Awaitable[Any]]) -> Any:
        """Return the reply to a command; `send(address, asking)` sends it once, behind ASKING if it was asked to."""
        address, asking = await self.topology.address_of(slot), False
        redirections = pauses = 0
        while True:
            try:
                return await send(address, asking)
            except MovedError as error:
                redirections += 1
                address, asking = _target(error, address), False
                self.topology.moved(error.slot_id, address)
                self._end_if(redirections > MAX_REDIRECTIONS, error)
            except AskError as error:
                redirections += 1
                address, asking = _target(error, address), True
                self._end_if(redirections > MAX_REDIRECTIONS, error)
            except PAUSES as error:
                pauses += 1
                self.topology.doubt(address)
                self._end_if(pauses > MAX_PAUSES, error)
                await asyncio.sleep(PAUSE_S)
                address, asking = await self.topology.address_of(slot), False
            except ResponseError:
                raise
            except (RedisError, OSError, asyncio.CancelledError):  # Also of a caller who would not wait any longer.
                self.topology.doubt(address)
                raise

    @staticmethod
    def _end_if(ends: bool, error: RedisError) -> None:
        if ends:
            raise error


def _target(error: AskError, asked: Address) -> Address:
    """Return where a redirection points to; without a host it is the one that was asked."""
    return error.host or asked[0], error.port
