"""What is dangerous about a store is seen: at the start, while it runs, and by `spendgate doctor`."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from cli.main import main
from ledger.connection import StoreTimeouts, WrongTopology, claim_partitions, connect
from ledger.store_checks import Finding, Reason, ServerState, check_store, findings
from sidecar.metrics import Metrics
from sidecar.settings import Settings
from sidecar.store_watch import StoreWatch
from tests.conftest import running_server, valkey_binary
from tests.support.books import new_workspace
from tests.support.servers import STEADY_MS, ClusterStore, cluster_store

TIMEOUTS = StoreTimeouts(connect_ms=10_000, command_ms=10_000)


@pytest.fixture
def store_url() -> Iterator[str]:
    """A store of its own that is as it should be."""
    with running_server(valkey_binary(), "--appendonly", "yes") as url:
        yield url


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterStore]:
    """A Cluster as tests start it: without an append-only file."""
    with cluster_store(node_timeout_ms=STEADY_MS) as running:
        yield running


def _configure(url: str, **settings: str) -> None:
    with redis.Redis.from_url(url) as client:
        for name, value in settings.items():
            client.config_set(name.replace("_", "-"), value)


async def _found(url: str) -> set[Reason]:
    client = connect(url, TIMEOUTS)
    try:
        return {finding.reason for finding in await check_store(client)}
    finally:
        await client.aclose()


@pytest.mark.parametrize(
    ("settings", "reasons"),
    [
        ({}, set()),
        ({"maxmemory_policy": "allkeys-lru"}, {Reason.EVICTION}),
        ({"appendonly": "no"}, {Reason.PERSISTENCE}),
        ({"appendfsync": "no"}, {Reason.FSYNC}),
        ({"maxmemory": "1100000"}, {Reason.MEMORY}),
    ],
)
async def test_a_dangerous_setting_is_found(store_url: str, settings: dict[str, str], reasons: set[Reason]) -> None:
    """Each by itself, and nothing about a store that is as it should be."""
    _configure(store_url, **settings)

    assert reasons == await _found(store_url)


async def test_a_replica_is_no_store(store_url: str) -> None:
    """It takes no writes; catches a URL that names the wrong one of two servers."""
    with redis.Redis.from_url(store_url) as client:
        client.replicaof("127.0.0.1", 1)

    assert Reason.REPLICA in await _found(store_url)


async def test_a_member_is_no_cluster(cluster: ClusterStore) -> None:
    """A URL of one member is seen, and a sidecar refuses to start with it, saying how to name the whole."""
    url = f"redis://127.0.0.1:{cluster.primaries[0].port}"
    client = connect(url, TIMEOUTS)
    try:
        with pytest.raises(WrongTopology, match=r"redis\+cluster://"):
            await _claim_many(client)
    finally:
        await client.aclose()

    assert Reason.CLUSTER in await _found(url)


async def _claim_many(client: Any) -> None:
    """Claim until a workspace's key is on another server than the one that was named."""
    for _ in range(100):
        await claim_partitions(client, new_workspace(), 1)


async def test_every_server_of_a_cluster_is_asked(cluster: ClusterStore) -> None:
    """One without an append-only file loses its users' spend."""
    client = connect(cluster.url, TIMEOUTS)
    try:
        found = await check_store(client)
    finally:
        await client.aclose()

    ports = {f"127.0.0.1:{server.port}" for server in cluster.primaries}
    assert ports == {finding.server for finding in found if finding.reason is Reason.PERSISTENCE}


def _state(**changes: Any) -> ServerState:
    settings = {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "everysec"}
    fields: dict[str, Any] = {"name": "n1", "info": {}, "settings": settings, "skew_ms": 0, "is_routed": True}
    return ServerState(**(fields | changes))


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({"settings": None}, [Reason.HIDDEN]),
        ({"info": {"aof_enabled": 1, "aof_last_write_status": "err"}}, [Reason.WRITE_FAILURE]),
        ({"info": {"redis_version": "6.2.14"}}, [Reason.VERSION]),
    ],
)
def test_what_a_server_tells_is_judged(changes: dict[str, Any], reasons: list[Reason]) -> None:
    """Also what a test cannot bring about."""
    assert reasons == [finding.reason for finding in findings([_state(**changes)])]


def test_clocks_that_differ_are_told() -> None:
    """Windows would begin at two moments."""
    assert [Reason.CLOCK] == [each.reason for each in findings([_state(), _state(name="n2", skew_ms=150)])]


def test_the_unsafe_stands_first() -> None:
    """What has to be done now is read first."""
    state = _state(settings={"maxmemory-policy": "allkeys-lru", "appendonly": "yes", "appendfsync": "no"})

    assert [True, False] == [finding.is_unsafe for finding in findings([state])]


async def test_a_setting_that_changes_while_running_is_noticed(
    store_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged once when it comes and once when it goes, and shown meanwhile."""
    metrics = Metrics()
    settings = Settings.read({"SPENDGATE_REDIS_URL": store_url}, {})
    watch = StoreWatch(settings, metrics)
    shown = []
    for policy in ("noeviction", "allkeys-lru", "allkeys-lru", "noeviction"):
        _configure(store_url, maxmemory_policy=policy)
        await watch.greet() if not shown else await watch.look()
        shown.append(metrics.registry.get_sample_value("spendgate_store_unsafe", {"reason": "eviction"}))

    assert [0, 1, 1, 0] == shown
    assert 2 == sum("allkeys-lru" in message for message in caplog.messages)


def test_doctor_tells_what_is_wrong_and_ends_with_one(store_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The command of a deployment's checks; a store that is as it should be ends with 0."""
    assert 0 == main(["doctor", "--redis-url", store_url])
    assert "nothing to complain of" in capsys.readouterr().out
    _configure(store_url, maxmemory_policy="allkeys-lru")

    assert 1 == main(["doctor", "--redis-url", store_url])
    assert "UNSAFE" in capsys.readouterr().out


def test_doctor_understands_a_cluster(cluster: ClusterStore, capsys: pytest.CaptureFixture[str]) -> None:
    """It names each server, and how many partitions the workspace has."""
    workspace = new_workspace()

    async def claim() -> None:
        client = connect(cluster.url, TIMEOUTS)
        await claim_partitions(client, workspace, 16)
        await client.aclose()

    asyncio.run(claim())
    main(["doctor", "--redis-url", cluster.url, "--workspace", workspace])
    output = capsys.readouterr().out

    assert [True] * 3 == [f"127.0.0.1:{server.port}: " in output for server in cluster.primaries]
    assert "16 partitions" in output


def test_a_finding_reads_as_a_sentence() -> None:
    """Of a server, or of all."""
    assert ("n1: is old", "clocks differ") == (
        str(Finding("n1", Reason.VERSION, "is old")),
        str(Finding("", Reason.CLOCK, "clocks differ")),
    )
