"""The lineage of a partition's data: whoever knows the place of a run can tell whether the store still has it."""

import subprocess
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest

from ledger.connection import StoreClient, StoreTimeouts, connect
from ledger.places import Place
from ledger.redis_ledger import RedisLedger, load_programs
from tests.conftest import start_server, stop_server, valkey_binary
from tests.support.ledger_under_test import Caller, LedgerUnderTest, MemoryBook, memory_under_test, rule, rules
from tests.support.ports import HOST, free_ports
from tests.support.servers import Server, until

REPLICATED = ("--repl-diskless-sync-delay", "0")
PATIENT = StoreTimeouts(connect_ms=30_000, command_ms=30_000)


class Store:
    """A Valkey that syncs each write, on files that a test copies, cuts and puts back while it is down."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.client: StoreClient = connect(f"unix://{directory}/s", PATIENT)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it on its files."""
        options = ("--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0")
        self._process = start_server(valkey_binary(), self.directory, *options)

    async def stop(self) -> None:
        """End it at once."""
        await self.client.aclose()
        if self._process is not None:
            stop_server(self._process)

    @property
    def log(self) -> Path:
        """The file of what was done since the start of all."""
        return next((self.directory / "appendonlydir").glob("*.incr.aof"))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """Run a store of one's own."""
    store = Store(tmp_path)
    store.start()
    yield store
    await store.stop()


class Sidecar:
    """Checks one nano-dollar after the other and remembers where each run stands."""

    def __init__(self, client: StoreClient, *, with_functions: bool = True, first: int = 0) -> None:
        programs = load_programs()
        for program in programs.values():
            program.has_functions = with_functions
        self.ledger = RedisLedger(client, workspace="lineage", programs=programs)
        memory = memory_under_test()
        under_test = LedgerUnderTest(self.ledger, memory.clock, memory.set_time, MemoryBook(memory.ledger))  # type: ignore[arg-type]
        self._caller = Caller(under_test, rules(rule("alice", None)), count(first))

    async def check(self) -> Place:
        """Check once; returns the place of the run."""
        now_ms = await self.ledger.store_time_ms()
        await self._caller.check(1, plan=self._caller.plan(at_ms=now_ms))
        place = self.ledger.places[0]
        assert place is not None
        return place

    async def survived(self, places: list[Place]) -> int:
        """Return how many of the places the store still has: the first ones, without a gap."""
        lineage = await self.ledger.lineage(0)
        found = [lineage.has(place) for place in places]
        assert sorted(found, reverse=True) == found
        return sum(found)


@pytest.mark.parametrize("with_functions", [True, False])
async def test_a_store_that_lost_nothing_has_everything(store: Store, with_functions: bool) -> None:
    """It was killed, and every write was synced: a new lineage, in which all that came before has survived."""
    sidecar = Sidecar(store.client, with_functions=with_functions)
    places = [await sidecar.check() for _ in range(5)]
    await store.stop()
    store.start()
    assert 5 == await sidecar.survived(places)
    places.append(await sidecar.check())
    assert places[0].lineage != places[-1].lineage
    assert 6 == await sidecar.survived(places)


async def test_what_was_cut_off_is_told_even_after_others_have_written(store: Store) -> None:
    """The newest runs are lost; another sidecar has written more than that before this one looks."""
    sidecar, other = Sidecar(store.client), Sidecar(store.client, first=1000)
    places = [await sidecar.check() for _ in range(3)]
    length = store.log.stat().st_size
    places += [await sidecar.check() for _ in range(4)]
    await store.stop()
    with store.log.open("r+b") as file:
        file.truncate(length)
    store.start()
    for _ in range(9):
        await other.check()
    assert 3 == await sidecar.survived(places)


async def test_what_a_second_crash_takes_is_told_as_well(store: Store) -> None:
    """After two cuts, the second behind the first, only what stands before both is there."""
    sidecar = Sidecar(store.client)
    places = [await sidecar.check() for _ in range(2)]
    first = store.log.stat().st_size
    places += [await sidecar.check() for _ in range(2)]
    second = store.log.stat().st_size
    places += [await sidecar.check() for _ in range(2)]
    for length, survived in ((second, 4), (first, 2)):
        await store.stop()
        with store.log.open("r+b") as file:
            file.truncate(length)
        store.start()
        assert survived == await sidecar.survived(places)


async def test_an_emptied_store_has_nothing(store: Store) -> None:
    """FLUSHALL under a server that goes on: other data, other lineage."""
    sidecar = Sidecar(store.client)
    places = [await sidecar.check() for _ in range(3)]
    await store.client.flushall()
    assert 0 == await sidecar.survived(places)
    places = [await sidecar.check()]
    assert (1, 1) == (places[0].number, await sidecar.survived(places))


async def test_a_run_that_changes_nothing_has_no_place(store: Store) -> None:
    """A refusal is no change."""
    sidecar = Sidecar(store.client)
    sidecar._caller.rule_set = rules(rule("alice", 0))
    now_ms = await sidecar.ledger.store_time_ms()
    await sidecar._caller.check(1, plan=sidecar._caller.plan(at_ms=now_ms))
    assert sidecar.ledger.places[0] is None


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator["Pair"]:
    """Run two servers, the second a replica of the first."""
    pair = Pair([Server(valkey_binary(), port, tmp_path / str(port), *REPLICATED) for port in free_ports(2)])
    try:
        for server in pair.servers:
            server.start()
        pair.follow(1, 0)
        yield pair
    finally:
        await pair.stop()


class Pair:
    """Two servers that take turns in being the primary; `sidecars` has one before each."""

    def __init__(self, servers: list[Server]) -> None:
        self.servers = servers
        self.clients = [connect(f"redis://{HOST}:{server.port}", PATIENT) for server in servers]
        self.sidecars = [Sidecar(client, first=1000 * number) for number, client in enumerate(self.clients)]

    def follow(self, replica: int, primary: int) -> None:
        """Make one the replica of the other, and wait until it has everything."""
        with self.servers[replica].client() as client, self.servers[primary].client() as source:
            client.replicaof(HOST, self.servers[primary].port)
            until(lambda: client.info("replication")["master_link_status"] == "up", "a replica that follows")
            until(lambda: source.wait(1, 100) == 1, "a replica that has everything")

    def promote(self, number: int) -> None:
        """Make one a primary, whatever it has."""
        with self.servers[number].client() as client:
            client.replicaof("NO", "ONE")

    async def stop(self) -> None:
        """End both at once."""
        for client in self.clients:
            await client.aclose()
        for server in self.servers:
            server.kill()


async def test_a_primary_that_is_one_again_tells_what_the_other_took_with_it(pair: Pair) -> None:
    """It followed without a full copy, so its functions remember; the last two runs of the other never reached it."""
    first, second = pair.sidecars
    places = [await first.check() for _ in range(3)]
    assert 3 == await first.survived(places)
    pair.follow(1, 0)
    pair.promote(1)
    pair.follow(0, 1)
    with pair.servers[1].client() as client:
        assert client.info("stats")["sync_partial_ok"] == 1
    places += [await second.check() for _ in range(2)]
    pair.follow(0, 1)
    pair.promote(0)
    places += [await second.check() for _ in range(2)]
    assert 5 == await first.survived(places)
    places[5:] = [await first.check()]
    assert 6 == await first.survived(places)


async def test_a_primary_that_is_one_again_without_its_last_runs_tells_so(pair: Pair) -> None:
    """Nobody asked the other meanwhile, whose copy had not got them: the data names the same server as before."""
    first, _ = pair.sidecars
    places = [await first.check() for _ in range(3)]
    pair.follow(1, 0)
    pair.promote(1)
    places += [await first.check() for _ in range(2)]
    pair.follow(0, 1)
    pair.promote(0)
    assert 3 == await first.survived(places)
