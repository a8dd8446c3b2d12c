"""Connections to Redis or Valkey: short timeouts and no retries, because a command that timed out may have run."""

from dataclasses import dataclass
from typing import Any, Final

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import MovedError, RedisError

from ledger.cluster import ClusterTopology
from ledger.errors import LedgerError, StoreUnavailable
from ledger.keys import meta_key
from ledger.routed_client import RoutedClient, ServerClients
from ledger.routed_scripts import RoutedScripts
from ledger.script_connection import ScriptConnection
from ledger.scripts import CommandRunner
from ledger.sentinel import SentinelTopology
from ledger.store_url import StoreKind, StoreUrl

MAX_PARTITIONS: Final = 4096
REPARTITION_FIELD: Final = "repartition"
"""Of the meta hash: the goal and the step of a repartitioning that is under way."""

StoreClient = redis.Redis
"""What other rooms may name, but not use."""


class PartitionMismatch(LedgerError):
    """The workspace was created with another number of partitions; keys of users would be looked for elsewhere."""

    code = "partition_mismatch"


class WrongTopology(LedgerError):
    """The URL names one server, but it belongs to a Cluster, where others have most of the keys."""

    code = "wrong_topology"


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
    """Write the number of partitions once.

    Raises `PartitionMismatch` if the workspace has another one, `WrongTopology` for one server of a Cluster.
    """
    key = meta_key(workspace)
    try:
        await _command(client, "HSETNX", key, "partitions", partitions)
        stored = int(await _command(client, "HGET", key, "partitions"))
        repartitioning = await _command(client, "HGET", key, REPARTITION_FIELD)
    except MovedError as error:
        raise WrongTopology("the store is a Cluster: begin its URL with redis+cluster://") from error
    except (RedisError, OSError) as error:
        raise StoreUnavailable(f"the store did not answer: {error}") from error
    if repartitioning is not None:
        raise PartitionMismatch(
            f"workspace {workspace} is being repartitioned: wait, or run spendgate repartition again",
            field="partitions",
        )
    if stored != partitions:
        raise PartitionMismatch(f"workspace {workspace} has {stored} partitions, not {partitions}", field="partitions")


async def stored_partitions(client: "redis.Redis", workspace: str) -> int | None:
    """Return the number of partitions of a workspace, None if it has none yet; raises `StoreUnavailable`."""
    try:
        stored = await _command(client, "HGET", meta_key(workspace), "partitions")
    except (RedisError, OSError) as error:
        raise StoreUnavailable(f"the store did not answer: {error}") from error
    return None if stored is None else int(stored)


async def _command(client: "redis.Redis", *words: Any) -> Any:
    runner: CommandRunner = client
    return await runner.execute_command(*words)
