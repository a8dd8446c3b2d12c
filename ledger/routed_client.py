"""A client of a store with several servers, to be used as the one of a single server: each command finds its own.

redis-py makes its commands out of a class to inherit from; only `execute_command` and `pipeline` are ours.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import redis.asyncio as redis
from redis.asyncio.client import Pipeline
from redis.exceptions import ResponseError

from ledger.scripts import CommandRunner
from ledger.slots import slot_of
from ledger.store_url import Address
from ledger.topology import REDIRECTIONS, Router, Topology

KEPT_SERVERS: Final = 8
"""Clients of servers that have no slot any more are closed when there are so many more than servers."""

_ALREADY_THERE: Final = "already exists"


class ServerClients:
    """A redis-py client for each server, made when it is first asked."""

    def __init__(self, make: "Callable[[Address], redis.Redis]") -> None:
        self._make = make
        self._clients: dict[Address, redis.Redis] = {}

    def of(self, address: Address) -> "redis.Redis":
        """Return the client of a server."""
        client = self._clients.get(address)
        if client is None:
            client = self._clients[address] = self._make(address)
        return client

    async def forget_others(self, known: set[Address]) -> None:
        """Close the clients of servers that are not known any more, once they are many."""
        if len(self._clients) > 2 * len(known) + KEPT_SERVERS:
            for address in self._clients.keys() - known:
                await self._clients.pop(address).aclose()

    async def aclose(self) -> None:
        """Close all."""
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.aclose()


class RoutedClient(redis.Redis):
    """A redis-py client whose commands go to the server that has their key's slot, and follow redirections."""

    def __init__(self, topology: Topology, servers: ServerClients) -> None:
        super().__init__(connection_pool=redis.ConnectionPool())  # Never used: the servers have their own.
        self.router = Router(topology)
        self.servers = servers

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command to the server that has its key; functions are loaded on all."""
        if args[0] == "FUNCTION":
            return await self._run_everywhere(args, options)
        return await self.router.run(slot_of(args), partial(self._send, args, options))

    async def _send(self, args: tuple[Any, ...], options: Mapping[str, Any], address: Address, asking: bool) -> Any:
        client = self.servers.of(address)
        if not asking:
            server: CommandRunner = client
            return await server.execute_command(*args, **options)
        pipeline = client.pipeline(transaction=False)
        pipeline.execute_command("ASKING")
        pipeline.execute_command(*args, **options)
        return (await pipeline.execute())[1]

    async def _run_everywhere(self, args: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
        """Run a command on each server that has slots; raises only what is no answer to all of them."""
        clients: list[Any] = [*await self.each_server()]
        replies = await asyncio.gather(
            *[client.execute_command(*args, **options) for client in clients], return_exceptions=True
        )
        errors = [reply for reply in replies if isinstance(reply, BaseException)]
        serious = [error for error in errors if _ALREADY_THERE not in str(error)]
        if serious or len(errors) == len(replies):
            raise (serious or errors)[0]
        return next(reply for reply in replies if not isinstance(reply, BaseException))

    async def each_server(self) -> "list[redis.Redis]":
        """Return a client of each server that has slots: what one alone cannot answer is asked of all."""
        addresses = await self.router.topology.addresses()
        await self.servers.forget_others(addresses)
        return [self.servers.of(address) for address in sorted(addresses)]

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> "Pipeline":  # noqa: FBT002 - redis-py's
        """Return a pipeline whose commands go to several servers at once; transactions are scripts here."""
        if transaction or shard_hint:
            raise ValueError("a store with several servers has no transactions over them: use transaction=False")
        return RoutedPipeline(self)

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close the connections to all servers."""
        await self.router.topology.aclose()
        await self.servers.aclose()
        await super().aclose(close_connection_pool)


class RoutedPipeline(Pipeline):
    """Many commands in one round trip to each server that has keys of them; one that is redirected goes alone."""

    def __init__(self, client: RoutedClient) -> None:
        super().__init__(client.connection_pool, {}, transaction=False, shard_hint=None)
        self._client = client

    async def execute(self, raise_on_error: bool = True) -> list[Any]:  # noqa: FBT002 - redis-py's
        """Return the replies in the order of the commands; without `raise_on_error` errors stand in their place."""
        commands, self.command_stack = self.command_stack, []
        shares: dict[Address, list[int]] = defaultdict(list)
        topology = self._client.router.topology
        for position, (args, _) in enumerate(commands):
            shares[await topology.address_of(slot_of(args))].append(position)
        found = await asyncio.gather(
            *[self._send(address, [commands[position] for position in share]) for address, share in shares.items()]
        )
        replies: list[Any] = [None] * len(commands)
        for share, part in zip(shares.values(), found, strict=True):
            for position, reply in zip(share, part, strict=True):
                replies[position] = reply
        for position, (args, options) in enumerate(commands):
            if isinstance(replies[position], REDIRECTIONS):
                replies[position] = await self._send_alone(args, options)
        error = next((reply for reply in replies if isinstance(reply, Exception)), None)
        if raise_on_error and error is not None:
            raise error
        return replies

    async def _send(self, address: Address, commands: list[Any]) -> list[Any]:
        pipeline = self._client.servers.of(address).pipeline(transaction=False)
        for args, options in commands:
            pipeline.execute_command(*args, **options)
        try:
            return await pipeline.execute(raise_on_error=False)
        except BaseException:
            self._client.router.topology.doubt(address)
            raise

    async def _send_alone(self, args: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
        try:
            return await self._client.execute_command(*args, **options)
        except ResponseError as error:
            return error
