"""Reads all counters, totals, breakdowns, records and hold indexes of a workspace for the audit, by SCAN."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import RedisError

from ledger.breakdown import NOTHING, Rows, decode_rows
from ledger.connection import each_server
from ledger.counter_text import parse_counter
from ledger.decisions import Operation
from ledger.errors import StoreUnavailable
from ledger.plans import decode_context, parse_window_code
from ledger.record_text import parse_record, tier_windows_of
from ledger.windows import Window

if TYPE_CHECKING:
    import redis.asyncio as redis

SCAN_COUNT: Final = 1000

CounterKey = tuple[Window, str]
TotalKey = tuple[Window, str]
Share = tuple[Window, str, int]
"""Of a total, in a partition."""


@dataclass(frozen=True, slots=True)
class KeptCounter:
    """A user's counter as stored; nano-USD."""

    spend_nanos: int
    held_nanos: int
    seeded: bool
    calendar: str


@dataclass(frozen=True, slots=True)
class KeptRecord:
    """A request's record as stored: what it holds and has charged, and on which counters and totals; nano-USD.

    An empty `user_id` is nobody's. `calendar` is the workspace's; `key` is without the workspace.
    """

    key: bytes
    user_id: str
    request_id: str
    state: str
    held_nanos: int
    charged_nanos: int
    windows: tuple[Window, ...]
    tier_windows: tuple[TotalKey, ...]
    day: Window
    group: str
    model: str
    tier: str
    is_adjustment: bool


@dataclass(slots=True)
class Snapshot:
    """A workspace at `at_ms`, as far as SCAN sees a changing keyspace at one moment."""

    at_ms: int
    counters: dict[CounterKey, KeptCounter] = field(default_factory=dict)
    totals: dict[TotalKey, int] = field(default_factory=dict)
    shares: dict[Share, int] = field(default_factory=dict)
    breakdown: dict[Window, Rows] = field(default_factory=dict)
    records: list[KeptRecord] = field(default_factory=list)
    indexed_holds: set[bytes] = field(default_factory=set)


async def read_snapshot(client: "redis.Redis", workspace: str) -> Snapshot:
    """Read a workspace; raises `StoreUnavailable`."""
    try:
        seconds, _ = await client.time()
        snapshot = Snapshot(int(seconds) * 1000)
        seen: set[bytes] = set()
        for server in await each_server(client):
            async for keys in _scanned(server, workspace):
                await _read_keys(client, [key for key in keys if key not in seen], snapshot)
                seen.update(keys)
    except (RedisError, OSError) as error:
        raise StoreUnavailable(f"the store did not answer: {error}") from error
    return snapshot


async def _scanned(server: "redis.Redis", workspace: str) -> AsyncIterator[list[bytes]]:
    """Yield all keys of a workspace that one server has; those that come or go meanwhile may be among them."""
    cursor: int | None = None
    while cursor != 0:
        reply: Any = await server.scan(cursor or 0, match=f"sg:{workspace}:*", count=SCAN_COUNT)
        cursor, keys = reply
        yield keys


async def _read_keys(client: "redis.Redis", keys: list[bytes], snapshot: Snapshot) -> None:
    pipeline = client.pipeline(transaction=False)
    wanted = [key for key in keys if _kind(key) in _READERS]
    for key in wanted:
        if _kind(key) == "holds":
            pipeline.zrange(key, 0, -1)
        elif _kind(key) == "breakdown":
            pipeline.hgetall(key)
        else:
            pipeline.get(key)
    for key, value in zip(wanted, await pipeline.execute(), strict=True):
        if value:
            _READERS[_kind(key)](snapshot, key, value)


def _rest(key: bytes) -> str:
    """Return a key without its prefix ``sg:<workspace>:{<partition>}:``."""
    return key.decode().split(":", 3)[-1]


def _in_workspace(key: bytes) -> bytes:
    """Return a key without its workspace, which has another name while a copy is staged (ledger/repartition.py)."""
    return key.split(b":", 2)[2]


def _partition(key: bytes) -> int:
    return int(key.split(b":", 3)[2].strip(b"{}"))


def _kind(key: bytes) -> str:
    return _rest(key).partition(":")[0]


def _window_and_name(key: bytes) -> tuple[Window, str]:
    _, kind, start, end, name = _rest(key).split(":", 4)
    return parse_window_code(f"{kind}:{start}:{end}"), name


def _read_counter(snapshot: Snapshot, key: bytes, value: bytes) -> None:
    stored = parse_counter(value)
    snapshot.counters[_window_and_name(key)] = KeptCounter(
        stored.spend_nanos, stored.held_nanos, stored.seeded, stored.calendar
    )


def _read_total(snapshot: Snapshot, key: bytes, value: bytes) -> None:
    total_key, share = _window_and_name(key), parse_counter(value).spend_nanos
    snapshot.totals[total_key] = snapshot.totals.get(total_key, 0) + share
    snapshot.shares[*total_key, _partition(key)] = share


def _read_record(snapshot: Snapshot, key: bytes, value: bytes) -> None:
    record = parse_record(value)
    if record["op"] == "unattributed":
        return
    _, length, rest = _rest(key).split(":", 2)
    state, user_id = record["state"], rest[int(length) + 1 :]
    windows = tuple(parse_window_code(code) for code in record["windows"].split(","))
    _, tier, _ = decode_context(record["context"])
    snapshot.records.append(
        KeptRecord(
            key=_in_workspace(key),
            user_id=user_id,
            request_id=rest[: int(length)],
            state=state,
            held_nanos=int(record["amount"]) if state == "open" else 0,
            charged_nanos=int(record["charged"]),
            windows=windows if user_id else (),
            tier_windows=tier_windows_of(record),
            day=windows[0],
            group=record["group"],
            model=record["model"],
            tier=tier or "",
            is_adjustment=record["op"] == Operation.ADJUST,
        )
    )


def _read_breakdown(snapshot: Snapshot, key: bytes, value: dict[bytes, bytes]) -> None:
    day = parse_window_code(_rest(key).partition(":")[2])
    rows = snapshot.breakdown.setdefault(day, {})
    for row, used in decode_rows(value).items():
        rows[row] = rows.get(row, NOTHING) + used


def _read_index(snapshot: Snapshot, _key: bytes, value: list[bytes]) -> None:
    snapshot.indexed_holds.update(_in_workspace(member) for member in value)


_READERS: dict[str, Any] = {
    "counter": _read_counter,
    "tier": _read_total,
    "request": _read_record,
    "holds": _read_index,
    "breakdown": _read_breakdown,
}
