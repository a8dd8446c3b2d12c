"""What about a store's servers is safe for money, and what is not: memory, persistence, replication, clocks."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import NoPermissionError, RedisError, ResponseError

from ledger.connection import each_server
from ledger.errors import StoreUnavailable

if TYPE_CHECKING:
    import redis.asyncio as redis

SETTINGS: Final = ("maxmemory-policy", "appendonly", "appendfsync", "min-replicas-to-write")
CLUSTER_SETTING: Final = "cluster-require-full-coverage"
FULL_SHARE: Final = 0.8
MAX_SKEW_MS: Final = 100
OLDEST_REDIS: Final = (7, 0)


class Reason(StrEnum):
    """What a finding is about; the values of the metric's label."""

    EVICTION = "eviction"
    PERSISTENCE = "persistence"
    WRITE_FAILURE = "write_failure"
    HIDDEN = "hidden_settings"
    REPLICA = "is_replica"
    CLUSTER = "is_cluster_member"
    FSYNC = "fsync"
    NO_REPLICA_NEEDED = "min_replicas"
    COVERAGE = "full_coverage"
    MEMORY = "memory"
    CLOCK = "clock"
    VERSION = "version"


UNSAFE: Final = (
    *(Reason.EVICTION, Reason.PERSISTENCE, Reason.WRITE_FAILURE),
    *(Reason.HIDDEN, Reason.REPLICA, Reason.CLUSTER),
)
"""These can lose or refuse money by themselves; the others are advice."""


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """Something about one server that is not as it should be, and what to do."""

    server: str
    reason: Reason
    message: str

    @property
    def is_unsafe(self) -> bool:
        """Say whether money can be lost or refused for it alone."""
        return self.reason in UNSAFE

    def __str__(self) -> str:
        return f"{self.server}: {self.message}" if self.server else self.message


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerState:
    """What a server tells of itself. `info` and `settings` are None where its user may not ask."""

    name: str
    info: Mapping[str, Any] | None
    settings: Mapping[str, str] | None
    skew_ms: int
    is_routed: bool

    def __str__(self) -> str:
        info, settings = self.info or {}, self.settings or {}
        names = ("valkey_version", "Valkey") if "valkey_version" in info else ("redis_version", "Redis")
        software = f"{names[1]} {info.get(names[0], '?')}"
        persistence = f"append-only file {settings.get('appendonly', '?')}, fsync {settings.get('appendfsync', '?')}"
        memory = f"{settings.get('maxmemory-policy', '?')}, malloc of {info.get('mem_allocator', '?')}"
        return f"{self.name}: {software}, {persistence}, {memory}, {info.get('connected_slaves', '?')} replicas"


async def read_states(client: "redis.Redis") -> list[ServerState]:
    """Ask each server that takes writes; raises `StoreUnavailable` if one does not answer."""
    try:
        servers = await each_server(client)
        return [await _read_state(server, is_routed=server is not client) for server in servers]
    except (RedisError, OSError) as error:
        raise StoreUnavailable(f"the store did not answer: {error}") from error


async def check_store(client: "redis.Redis") -> list[Finding]:
    """Return what is not as it should be; raises `StoreUnavailable`."""
    return findings(await read_states(client))


def findings(states: Sequence[ServerState]) -> list[Finding]:
    """Return what is not as it should be, the unsafe first."""
    pairs = [(state, check) for state in states for check in _CHECKS]
    found = [Finding(state.name, *told) for state, check in pairs for told in check(state)]
    skews = [state.skew_ms for state in states]
    if skews and max(skews) - min(skews) > MAX_SKEW_MS:
        message = f"the servers' clocks differ by more than {MAX_SKEW_MS} ms: keep them together by NTP"
        found.append(Finding("", Reason.CLOCK, message))
    return sorted(found, key=lambda finding: (not finding.is_unsafe, finding))


async def _read_state(server: "redis.Redis", *, is_routed: bool) -> ServerState:
    started = time.time()
    seconds, microseconds = await server.time()
    here_ms = (started + time.time()) * 500
    info: Any = await _allowed(server.info)
    reply = await _allowed(lambda: server.config_get(*SETTINGS, CLUSTER_SETTING))
    settings = None if reply is None else {_text(name): _text(value) for name, value in reply.items()}
    return ServerState(
        name=_name(server),
        info=info,
        settings=settings,
        skew_ms=round(seconds * 1000 + microseconds / 1000 - here_ms),
        is_routed=is_routed,
    )


async def _allowed(ask: Callable[[], Any]) -> Any:
    """Return an answer, None where asking is forbidden or the command was renamed."""
    try:
        return await ask()
    except NoPermissionError:
        return None
    except ResponseError as error:
        if "unknown command" in str(error).lower():
            return None
        raise


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _name(server: "redis.Redis") -> str:
    known = server.connection_pool.connection_kwargs
    return str(known["path"]) if "path" in known else f"{known.get('host', 'localhost')}:{known.get('port', 6379)}"


def _check_settings(state: ServerState) -> Iterator[tuple[Reason, str]]:
    if state.settings is None:
        yield Reason.HIDDEN, "its settings cannot be read: make sure of noeviction and appendonly yes"
        return
    policy = state.settings.get("maxmemory-policy", "")
    if policy != "noeviction":
        yield (
            Reason.EVICTION,
            f"maxmemory-policy is {policy}: counters may be evicted and limits forgotten; set noeviction",
        )
    if state.settings.get("appendonly") != "yes":
        yield (
            Reason.PERSISTENCE,
            "appendonly is off: spend since the last snapshot is lost when the store stops; set appendonly yes",
        )
    elif state.settings.get("appendfsync") == "no":
        yield Reason.FSYNC, "appendfsync is no: a loss of power takes what the system had not written; set everysec"


def _check_replication(state: ServerState) -> Iterator[tuple[Reason, str]]:
    info, settings = state.info or {}, state.settings or {}
    if info.get("role") == "slave":
        yield Reason.REPLICA, "is a replica and takes no writes: name the primary, or the Sentinels"
    if info.get("cluster_enabled") == 1 and not state.is_routed:
        yield Reason.CLUSTER, "belongs to a Cluster: begin the URL with redis+cluster://"
    if info.get("connected_slaves", 0) and settings.get("min-replicas-to-write") == "0":
        yield (
            Reason.NO_REPLICA_NEEDED,
            "min-replicas-to-write is 0: cut off from its replicas it goes on charging, and loses that at the failover",
        )
    if info.get("cluster_enabled") == 1 and settings.get(CLUSTER_SETTING) == "yes":
        yield Reason.COVERAGE, f"{CLUSTER_SETTING} is yes: one lost server stops the users of all; set no"


def _check_condition(state: ServerState) -> Iterator[tuple[Reason, str]]:
    info = state.info or {}
    if info.get("aof_enabled") == 1 and info.get("aof_last_write_status", "ok") != "ok":
        yield Reason.WRITE_FAILURE, "cannot write its append-only file: look at its disk"
    if info.get("aof_last_bgrewrite_status", "ok") != "ok":
        yield Reason.WRITE_FAILURE, "cannot rewrite its append-only file: look at its disk and memory"
    limit, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    if limit and used > FULL_SHARE * limit:
        yield (
            Reason.MEMORY,
            f"uses over {FULL_SHARE:.0%} of maxmemory: when all is used, checks and reserves are refused",
        )
    version = tuple(int(part) for part in str(info.get("redis_version", "7.0")).split(".")[:2])
    if version < OLDEST_REDIS:
        yield Reason.VERSION, f"is Redis {info['redis_version']}: Spendgate is tested from 7.0, and with Valkey from 8"


_CHECKS: Final = (_check_settings, _check_replication, _check_condition)
