"""The servers of a Cluster: which one has which slot, learnt from any of them and from their redirections."""

import random
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from ledger.scripts import CommandRunner
from ledger.slots import SlotOwners, read_owners
from ledger.store_url import Address
from ledger.topology import Lookup

if TYPE_CHECKING:
    import redis.asyncio as redis

MAX_ASKED: Final = 6
"""Servers that one lookup asks at most, one after another; each has its own timeout."""


class ClusterTopology:
    """`ledger.topology.Topology` of a Cluster. `client_of` gives a client of one server.

    The map of slots is read when it is first needed, and again after a redirection or a failure; only the callers of
    slots whose server failed wait for it.
    """

    def __init__(self, seeds: Sequence[Address], client_of: "Callable[[Address], redis.Redis]") -> None:
        self._seeds = seeds
        self._client_of = client_of
        self._owners: SlotOwners = {}
        self._doubted: set[Address] = set()
        self._lookup = Lookup(self._look)

    async def address_of(self, slot: int | None) -> Address:
        """Return the owner of a slot, or any server with slots. Raises redis-py's errors if no server knows."""
        address = self._known(slot)
        if address is None or address in self._doubted:
            await self._lookup.result()
            address = self._known(slot)
        if address is None:
            raise RedisConnectionError(f"no server of the Cluster has slot {slot}")
        return address

    def _known(self, slot: int | None) -> Address | None:
        if slot is not None:
            return self._owners.get(slot)
        known = set(self._owners.values())
        return min(known - self._doubted, default=min(known, default=None))

    async def addresses(self) -> set[Address]:
        """Return the servers that own slots now."""
        await self._lookup.result()
        return set(self._owners.values())

    def moved(self, slot: int, address: Address) -> None:
        """Learn where one slot is, and look where the others are."""
        self._owners[slot] = address
        self._lookup.start()

    def doubt(self, address: Address) -> None:
        """Have the next caller of this server's slots look first; others are not concerned."""
        self._doubted.add(address)

    async def aclose(self) -> None:
        """End a lookup that is under way."""
        await self._lookup.aclose()

    async def _look(self) -> None:
        doubted = self._doubted
        failure: Exception | None = None
        for address in self._candidates(doubted):
            server: CommandRunner = self._client_of(address)
            try:
                reply = await server.execute_command("CLUSTER", "SLOTS")
                owners = read_owners(reply, address)
            except (RedisError, OSError) as error:
                failure = error
                continue
            if owners:
                self._owners, self._doubted = owners, set()
                return
        raise RedisConnectionError("no server of the Cluster tells who has which slot") from failure

    def _candidates(self, doubted: set[Address]) -> Iterable[Address]:
        """Return whom to ask: known servers, then the first ones, those that failed last; in random order."""
        addresses = list({*self._owners.values(), *self._seeds})
        random.shuffle(addresses)
        return sorted(addresses, key=lambda address: (address in doubted, address not in self._owners.values()))[
            :MAX_ASKED
        ]
