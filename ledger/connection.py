"""Connections to Redis or Valkey: short timeouts and no retries, because a command that timed out may have run."""

from dataclasses import dataclass
from typing import Any

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from ledger.cluster import ClusterTopology
from ledger.errors import LedgerError, StoreUnavailable
from ledger.keys import meta_key
from ledger.routed_client import RoutedClient, ServerClients
from ledger.routed_scripts import RoutedScripts
from ledger.script_connection import ScriptConnection
from ledger.scripts import CommandRunner
from ledger.sentinel import SentinelTopology
from ledger.store_url import StoreKind, StoreUrl

StoreClient = redis.Redis
"""What other rooms may name, but not use."""

PERSISTENCE_ADVICE = "appendonly is off: spend since the last snapshot is lost when the store stops; set appendonly yes"


class PartitionMismatch(LedgerError):
    """The workspace was created with another number of partitions; keys of users would be looked for elsewhere."""

    code = "partition_mismatch"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreTimeouts:
    """How long to wait, in milliseconds."""

    connect_ms: int = 50
    command_ms: int = 100


def connect(url: str, timeouts: StoreTimeouts, *, max_connections: int = 16) -> "redis.Redis":
    """Return a client for any URL of `StoreUrl`; it connects on first use and never retries.

    With several servers it opens up to `max_connections` to each. Raises `ValueError` for another URL.
    """
    parsed = StoreUrl.parse(url)
    if parsed.kind is StoreKind.SINGLE:
        return _server_client(url, timeouts, max_connections)
    servers = ServerClients(lambda address: _server_client(parsed.server_url(address), timeouts, max_connections))
    if parsed.kind is StoreKind.CLUSTER:
        return RoutedClient(ClusterTopology(parsed.seeds, servers.of), servers)
    sentinels = [_server_client(parsed.sentinel_url(address), timeouts, 1) for address in parsed.seeds]
    return RoutedClient(SentinelTopology(sentinels, parsed.service), servers)


def script_connection(client: "redis.Redis") -> ScriptConnection | RoutedScripts:
    """Return a connection for programs to the servers of a client."""
    return RoutedScripts(client) if isinstance(client, RoutedClient) else ScriptConnection(client)


async def each_server(client: "redis.Redis") -> "list[redis.Redis]":
    """Return a client of each server that takes writes: what one alone cannot answer is asked of all."""
    return await client.each_server() if isinstance(client, RoutedClient) else [client]


def _server_client(url: str, timeouts: StoreTimeouts, max_connections: int) -> "redis.Redis":
    pool = redis.BlockingConnectionPool.from_url(
        url,
        timeout=timeouts.command_ms / 1000,
        socket_connect_timeout=timeouts.connect_ms / 1000,
        socket_timeout=timeouts.command_ms / 1000,
        max_connections=max_connections,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
        decode_responses=False,
    )
    return redis.Redis.from_pool(pool)


async def claim_partitions(client: "redis.Redis", workspace: str, partitions: int) -> None:
    """Write the number of partitions once; raise `PartitionMismatch` if the workspace has another one."""
    key = meta_key(workspace)
    try:
        await _command(client, "HSETNX", key, "partitions", partitions)
        stored = int(await _command(client, "HGET", key, "partitions"))
    except (RedisError, OSError) as error:
        raise StoreUnavailable(f"the store did not answer: {error}") from error
    if stored != partitions:
        raise PartitionMismatch(f"workspace {workspace} has {stored} partitions, not {partitions}", field="partitions")


async def store_warnings(client: "redis.Redis") -> list[str]:
    """Return what is dangerous about the store's settings: eviction, and a missing append-only file.

    A server that hides its settings (CONFIG renamed, or no permission) gives one warning that says so.
    """
    try:
        policy = await _setting(client, "maxmemory-policy")
        append_only = await _setting(client, "appendonly")
    except ResponseError as error:
        return [f"cannot read the store's settings ({error}): make sure of noeviction and appendonly yes"]
    except (RedisError, OSError) as error:
        raise StoreUnavailable(f"the store did not answer: {error}") from error
    warnings = []
    if policy != "noeviction":
        warnings.append(f"maxmemory-policy is {policy}: counters may be evicted and limits forgotten; set noeviction")
    if append_only != "yes":
        warnings.append(PERSISTENCE_ADVICE)
    return warnings


async def _setting(client: "redis.Redis", name: str) -> str:
    reply: Any = await client.config_get(name)
    return str(reply.get(name, ""))


async def _command(client: "redis.Redis", *words: Any) -> Any:
    runner: CommandRunner = client
    return await runner.execute_command(*words)
