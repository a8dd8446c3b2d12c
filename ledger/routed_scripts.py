"""Pipelined connections for programs, one to each server; a program goes to the one that has its keys."""

from functools import partial
from typing import Any

from ledger.routed_client import RoutedClient
from ledger.script_connection import ScriptConnection
from ledger.slots import slot_of
from ledger.store_url import Address


class RoutedScripts:
    """A `CommandRunner` like `ScriptConnection`, for a store with several servers."""

    def __init__(self, client: RoutedClient) -> None:
        self._client = client
        self._connections: dict[Address, ScriptConnection] = {}

    async def execute_command(self, *words: Any, wait_ms: int = 0, **_options: Any) -> Any:
        """Send one command and return its reply; see `ScriptConnection.execute_command`."""
        if words[0] == "FUNCTION":
            return await self._client.execute_command(*words)
        return await self._client.router.run(slot_of(words), partial(self._send, words, wait_ms))

    async def _send(self, words: tuple[Any, ...], wait_ms: int, address: Address, asking: bool) -> Any:
        connection = self._connections.get(address)
        if connection is None:
            connection = self._connections[address] = ScriptConnection(self._client.servers.of(address))
        return await connection.execute_command(*words, asking=asking, wait_ms=wait_ms)

    async def aclose(self) -> None:
        """Close all connections."""
        for connection in self._connections.values():
            await connection.aclose()
