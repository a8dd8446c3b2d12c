"""Stores with several servers, as processes on loopback ports: TLS, Sentinels, a Cluster; kill, freeze, fail over."""

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import redis

from tests.conftest import stop_server, valkey_binary
from tests.support.ports import HOST, free_ports

DEADLINE_S: Final = 60.0
POLL_S: Final = 0.02
NODE_TIMEOUT_MS: Final = 1000
DOWN_AFTER_MS: Final = 500
STEADY_MS: Final = 60_000
"""For stores that nobody takes down: a machine that stalls must not look like the death of a server."""
SERVICE: Final = "spend"
SLOTS: Final = 16384


def until(holds: Callable[[], object], what: str) -> None:
    """Wait until something holds; an error of a server means not yet. Raises `RuntimeError` after the deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        with contextlib.suppress(redis.RedisError, OSError):
            if holds():
                return
        time.sleep(POLL_S)
    raise RuntimeError(f"not in time: {what}")


class Server:
    """One server on a TCP port of loopback, with files of its own; `options` are those of its command line."""

    def __init__(
        self, binary: str, port: int, directory: Path, *options: str, environment: Mapping[str, str] | None = None
    ) -> None:
        self._environment = {**os.environ, **(environment or {})}
        self.port = port
        self.directory = directory
        self._command = [binary, *options, "--port", str(port), "--bind", HOST, "--dir", str(directory), "--save", ""]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None
        return self._process.pid

    def client(self) -> "redis.Redis":
        """Return a client of this server."""
        return redis.Redis(host=HOST, port=self.port, socket_timeout=DEADLINE_S)

    def start(self) -> "Server":
        """Start it and wait until it answers."""
        self.directory.mkdir(exist_ok=True)
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=subprocess.STDOUT, env=self._environment)
        try:
            with self.client() as client:
                until(client.ping, f"a server on port {self.port}: {' '.join(self._command)}")
        except RuntimeError:
            self.kill()
            raise
        return self

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            stop_server(self._process)
            self._process = None

    def freeze(self) -> None:
        """Stop it in its tracks, as a machine that hangs."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def _directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sg-", ignore_cleanup_errors=True) as name:
        yield Path(name)


class SentinelStore:
    """A primary, its replicas, and three Sentinels that watch them."""

    def __init__(self, servers: list[Server], sentinels: list[Server]) -> None:
        self.servers = servers
        self.sentinels = sentinels
        hosts = ",".join(f"{HOST}:{sentinel.port}" for sentinel in sentinels)
        self.url = f"redis+sentinel://{hosts}/{SERVICE}"

    @property
    def primary_port(self) -> int:
        """The port of the server that the Sentinels name."""
        with self.sentinels[0].client() as client:
            address = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return int(address[1])

    @property
    def primary(self) -> Server:
        """The server that the Sentinels name."""
        port = self.primary_port
        return next(server for server in self.servers if server.port == port)

    def fail_over(self) -> None:
        """Have the Sentinels make the replica the primary, and wait until all of them say so."""
        before = self.primary_port
        with self.sentinels[0].client() as client:
            until(lambda: client.execute_command("SENTINEL", "FAILOVER", SERVICE), "a failover that begins")
        until(lambda: self.primary_port != before, "a failover")

    def wait_until_agreed(self) -> None:
        """Wait until the server that the Sentinels name is the only primary, and the others follow it."""
        followers = ["slave up"] * (len(self.servers) - 1)
        until(lambda: sorted(map(_role, self.servers)) == ["master", *followers], "one primary")
        until(lambda: _role(self.primary) == "master", "Sentinels that name the primary")

    def wait_until_watched(self) -> None:
        """Wait until each Sentinel knows the replicas and the others."""
        replicas = len(self.servers) - 1
        for sentinel in self.sentinels:
            with sentinel.client() as client:
                until(lambda client=client: _knows_all(client, replicas), "Sentinels that know each other")


def _role(server: Server) -> str:
    with server.client() as client:
        return _role_of(client)


def _role_of(client: "redis.Redis") -> str:
    state = client.info("replication")
    return f"{state['role']} {state.get('master_link_status', '')}".strip()


def _knows_all(client: "redis.Redis", replicas: int) -> bool:
    state = client.sentinel_master(SERVICE)
    return state["num-slaves"] == replicas and state["num-other-sentinels"] == 2


@contextlib.contextmanager
def sentinel_store(
    binary: str | None = None,
    *options: str,
    replicas: int = 1,
    primary_port: int | None = None,
    seen_at: int | None = None,
    down_after_ms: int = DOWN_AFTER_MS,
) -> Iterator[SentinelStore]:
    """Run a primary, replicas and three Sentinels, all of whom may see the primary at another port than its own."""
    binary = binary or valkey_binary()
    with _directory() as directory:
        drawn = free_ports(4 + replicas)
        ports = [primary_port or drawn[0], *drawn[1 : 1 + replicas]]
        seen_at = seen_at or ports[0]
        servers = [
            Server(binary, port, directory / str(port), "--repl-diskless-sync-delay", "0", *options, *announced)
            for port, announced in zip(
                ports, [("--replica-announce-port", str(seen_at)), *[()] * replicas], strict=True
            )
        ]
        sentinels = [
            _sentinel(binary, port, directory / str(port), seen_at, down_after_ms) for port in drawn[1 + replicas :]
        ]
        try:
            for server in servers:
                server.start()
            for server in servers[1:]:
                with server.client() as client:
                    client.replicaof(HOST, seen_at)
                    until(lambda client=client: _role_of(client) == "slave up", "a replica that follows")
            for sentinel in sentinels:
                sentinel.start()
            store = SentinelStore(servers, sentinels)
            store.wait_until_watched()
            yield store
        finally:
            for server in [*sentinels, *servers]:
                server.kill()


def _sentinel(binary: str, port: int, directory: Path, primary_port: int, down_after_ms: int) -> Server:
    directory.mkdir()
    path = directory / "sentinel.conf"
    path.write_text(
        f"sentinel monitor {SERVICE} {HOST} {primary_port} 2\n"
        f"sentinel down-after-milliseconds {SERVICE} {down_after_ms}\n"
        f"sentinel failover-timeout {SERVICE} 3000\n"
    )
    return Server(binary, port, directory, str(path), "--sentinel")


class ClusterStore:
    """Primaries that share the slots evenly, each with its replicas behind it."""

    def __init__(self, primaries: list[Server], replicas: list[Server]) -> None:
        self.primaries = primaries
        self.replicas = replicas
        self.url = f"redis+cluster://{HOST}:{primaries[0].port},{HOST}:{primaries[1].port}"

    def server_of(self, slot: int) -> Server:
        """Return the server that has a slot now."""
        with self._living().client() as client:
            for start, end, primary, *_ in client.execute_command("CLUSTER", "SLOTS"):
                if start <= slot <= end:
                    return next(server for server in self.servers if server.port == primary[1])
        raise RuntimeError(f"nobody has slot {slot}")

    @property
    def servers(self) -> list[Server]:
        """All servers."""
        return [*self.primaries, *self.replicas]

    def _living(self) -> Server:
        for server in self.servers:
            with contextlib.suppress(redis.RedisError, OSError), server.client() as client:
                client.ping()
                return server
        raise RuntimeError("no server of the Cluster lives")

    def move_slot(self, slot: int, target: Server, *, keys_at_once: int = 10) -> None:
        """Move a slot key by key, as the tools of Redis do."""
        source = self.server_of(slot)
        with source.client() as old, target.client() as new:
            source_id, target_id = node_id(old), node_id(new)
            new.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
            old.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
            while keys := old.execute_command("CLUSTER", "GETKEYSINSLOT", slot, keys_at_once):
                old.execute_command("MIGRATE", HOST, target.port, "", 0, 5000, "KEYS", *keys)
            new.execute_command("CLUSTER", "SETSLOT", slot, "NODE", target_id)
            old.execute_command("CLUSTER", "SETSLOT", slot, "NODE", target_id)


def node_id(client: "redis.Redis") -> str:
    """Return what a Cluster calls a server."""
    reply = client.execute_command("CLUSTER", "MYID")
    return reply.decode() if isinstance(reply, bytes) else str(reply)


@contextlib.contextmanager
def cluster_store(
    binary: str | None = None, *options: str, replicas: int = 0, node_timeout_ms: int = NODE_TIMEOUT_MS
) -> Iterator[ClusterStore]:
    """Run a Cluster of three primaries, each with so many replicas."""
    binary = binary or valkey_binary()
    count = 3 * (1 + replicas)
    with _directory() as directory:
        ports = free_ports(2 * count)
        servers = [
            Server(
                binary,
                port,
                directory / str(port),
                *(
                    "--cluster-enabled",
                    "yes",
                    "--cluster-port",
                    str(bus),
                    "--cluster-node-timeout",
                    str(node_timeout_ms),
                ),
                *("--cluster-require-full-coverage", "no", "--repl-diskless-sync-delay", "0"),
                *options,
            )
            for port, bus in zip(ports[:count], ports[count:], strict=True)
        ]
        try:
            for server in servers:
                server.start()
            _join(servers[:3], servers[3:], ports[count:])
            yield ClusterStore(servers[:3], servers[3:])
        finally:
            for server in servers:
                server.kill()


def _join(primaries: list[Server], replicas: list[Server], buses: list[int]) -> None:
    servers = [*primaries, *replicas]
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(server.client()) for server in servers]
        for server, bus in zip(servers[1:], buses[1:], strict=True):
            clients[0].execute_command("CLUSTER", "MEET", HOST, server.port, bus)
        bounds = [SLOTS * number // len(primaries) for number in range(len(primaries) + 1)]
        for client, start, end in zip(clients, bounds, bounds[1:], strict=False):
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", start, end - 1)
        for client in clients:
            until(lambda client=client: _known(client) == len(servers), "servers that know each other")
        for number, client in enumerate(clients[len(primaries) :]):
            client.execute_command("CLUSTER", "REPLICATE", node_id(clients[number % len(primaries)]))
        for client in clients:
            until(lambda client=client: _is_whole(client, len(primaries)), "a whole Cluster")
        expected = len(replicas) // len(primaries)
        for client in clients[: len(primaries)]:
            until(lambda client=client: client.info("replication")["connected_slaves"] == expected, "replicas")


def _known(client: "redis.Redis") -> int:
    return int(client.cluster("info")["cluster_known_nodes"])


def _is_whole(client: "redis.Redis", primaries: int) -> bool:
    state = client.cluster("info")
    return state["cluster_state"] == "ok" and int(state["cluster_size"]) == primaries
