"""The primary that Sentinels name: a majority is asked, and the latest configuration that one of them knows counts."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from ledger.scripts import CommandRunner
from ledger.store_url import Address
from ledger.topology import Lookup

if TYPE_CHECKING:
    import redis.asyncio as redis


class SentinelTopology:
    """`ledger.topology.Topology` of a primary with replicas: one server has all slots, until the Sentinels say another.

    `sentinels` are clients of the Sentinels, `service` is the primary's name there.
    """

    def __init__(self, sentinels: "Sequence[redis.Redis]", service: str) -> None:
        self._sentinels = sentinels
        self._service = service
        self._primary: Address | None = None
        self._lookup = Lookup(self._look)

    async def address_of(self, slot: int | None) -> Address:  # noqa: ARG002 - all slots are on one server
        """Return the primary. Raises redis-py's `ConnectionError` if no Sentinel knows it."""
        if self._primary is None:
            self._primary = await self._lookup.result()
        return self._primary

    async def addresses(self) -> set[Address]:
        """Return the primary."""
        return {await self.address_of(None)}

    def moved(self, slot: int, address: Address) -> None:
        """Nothing: only Clusters redirect."""

    def doubt(self, address: Address) -> None:
        """Have the next caller ask the Sentinels again."""
        if address == self._primary:
            self._primary = None

    async def aclose(self) -> None:
        """End a lookup that is under way, and the connections to the Sentinels."""
        await self._lookup.aclose()
        for sentinel in self._sentinels:
            await sentinel.aclose()

    async def _look(self) -> Address:
        """Ask all at once; a majority's answers are enough, so that one that is gone delays nobody."""
        asking = {asyncio.create_task(self._ask(sentinel)) for sentinel in self._sentinels}
        majority = len(self._sentinels) // 2 + 1
        answers: list[tuple[int, Address]] = []
        try:
            for answer in asyncio.as_completed(asking):
                found = await answer
                if found is not None:
                    answers.append(found)
                if len(answers) == majority:
                    break
        finally:
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        if not answers:
            raise RedisConnectionError(f"no Sentinel names the primary of {self._service}")
        return max(answers)[1]

    async def _ask(self, sentinel: "redis.Redis") -> tuple[int, Address] | None:
        """Return the epoch of a Sentinel's configuration and the primary in it, None if it does not answer."""
        server: CommandRunner = sentinel
        try:
            reply = await server.execute_command("SENTINEL", "MASTER", self._service)
        except (RedisError, OSError):
            return None
        state = _fields(reply)
        return int(state["config-epoch"]), (state["ip"], int(state["port"]))


def _fields(reply: Any) -> dict[str, str]:
    """Return a reply's fields, which is a map or a flat list after the protocol."""
    pairs = reply.items() if isinstance(reply, Mapping) else zip(reply[::2], reply[1::2], strict=True)
    return {name.decode(): value.decode() for name, value in pairs}
