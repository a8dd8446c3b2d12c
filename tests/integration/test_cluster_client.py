"""Commands on a Cluster: functions are everywhere, slots in the middle of a move are asked for, moved ones followed."""

from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import pytest
from redis.crc import key_slot

from ledger.connection import StoreTimeouts, connect, script_connection
from tests.support.servers import STEADY_MS, ClusterStore, cluster_store, node_id

KEY: Final = "sg:w:{7}:key"
SLOT: Final = key_slot(b"7")
TIMEOUTS: Final = StoreTimeouts(connect_ms=10_000, command_ms=10_000)
LIBRARY: Final = "#!lua name=everywhere\nredis.register_function('everywhere', function() return 1 end)"


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterStore]:
    """Three primaries."""
    with cluster_store(node_timeout_ms=STEADY_MS) as running:
        yield running


@pytest.fixture
async def client(cluster: ClusterStore) -> AsyncIterator[Any]:
    """A client that has learnt where the slots are."""
    made = connect(cluster.url, TIMEOUTS)
    await made.set(KEY, "before")
    yield made
    await made.aclose()


@pytest.fixture
def half_moved(cluster: ClusterStore, client: Any) -> Iterator[None]:
    """Begin to move the slot: what it has is still at its old server, what comes belongs to the new one."""
    source = cluster.server_of(SLOT)
    target = next(server for server in cluster.primaries if server is not source)
    with source.client() as old, target.client() as new:
        new.execute_command("CLUSTER", "SETSLOT", SLOT, "IMPORTING", node_id(old))
        old.execute_command("CLUSTER", "SETSLOT", SLOT, "MIGRATING", node_id(new))
        yield
        new.execute_command("CLUSTER", "SETSLOT", SLOT, "STABLE")
        old.execute_command("CLUSTER", "SETSLOT", SLOT, "STABLE")


async def test_a_function_is_loaded_on_every_server(cluster: ClusterStore, client: Any) -> None:
    """Whichever server has a partition next can run its programs; loading again says that it is there."""
    await client.execute_command("FUNCTION", "LOAD", LIBRARY)

    for server in cluster.primaries:
        with server.client() as own:
            assert "everywhere" in str(own.function_list())
    with pytest.raises(Exception, match="already exists"):
        await client.execute_command("FUNCTION", "LOAD", LIBRARY)


@pytest.mark.usefixtures("half_moved")
async def test_a_key_of_a_slot_in_the_middle_of_its_move_is_asked_for(client: Any) -> None:
    """By single commands, in a pipeline, and on the connection of the programs; catches ASKING that is left out."""
    connection = script_connection(client)
    try:
        assert await client.set(f"{KEY}-1", "1")
        pipeline = client.pipeline(transaction=False)
        pipeline.set(f"{KEY}-2", "2")
        pipeline.get(KEY)
        assert [True, b"before"] == await pipeline.execute()
        await connection.execute_command("SET", f"{KEY}-3", "3")
        values = [await connection.execute_command("GET", f"{KEY}-{number}") for number in (1, 2, 3)]
    finally:
        await connection.aclose()

    assert [b"1", b"2", b"3"] == values


async def test_a_slot_that_moved_is_followed(cluster: ClusterStore, client: Any) -> None:
    """By a client and a connection that knew its old server."""
    connection = script_connection(client)
    try:
        await connection.execute_command("GET", KEY)
        target = next(server for server in cluster.primaries if server is not cluster.server_of(SLOT))
        cluster.move_slot(SLOT, target)
        pipeline = client.pipeline(transaction=False)
        pipeline.get(KEY)

        assert [b"before"] == await pipeline.execute()
        assert b"before" == await client.get(KEY)
        assert b"before" == await connection.execute_command("GET", KEY)
    finally:
        await connection.aclose()
