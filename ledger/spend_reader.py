"""Reads what was spent, held and decided: counters, tier totals, tallies and open holds, many in one round trip.

Only reads; the programs in ``lua/`` write. Totals over partitions are summed here, because only here they can pass
what Lua and JSON keep exact.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from ledger.counter_text import parse_counter
from ledger.decisions import CounterState
from ledger.keys import PartitionKeys, partition_of
from ledger.plans import CountedWindow
from ledger.record_text import parse_record
from ledger.store_commands import read_each, store_errors
from ledger.windows import Calendar, Window, last_days

if TYPE_CHECKING:
    import redis.asyncio as redis

MAX_TIERS: Final = 1000
MAX_OPEN_HOLDS: Final = 200
DAYS_KEPT: Final = 35

NEVER_COUNTED: Final = CounterState(0, 0, 0, seeded=False)


@dataclass(frozen=True, slots=True)
class TierTotal:
    """What a tier spent in a window, over all its users; `spend_nanos` may pass the cap and 2^53."""

    spend_nanos: int
    calls: int


@dataclass(frozen=True, slots=True)
class SeenTier:
    """A tier that was sent, or ``*``, and the end of the latest window that has a total of it, Unix milliseconds."""

    tier: str
    window_end_ms: int


@dataclass(frozen=True, slots=True)
class SeenTiers:
    """Tiers, the most recent first; `complete` is False when there are more than were read."""

    tiers: tuple[SeenTier, ...]
    complete: bool


@dataclass(frozen=True, slots=True)
class DaySpend:
    """A user's counter of one day."""

    window: Window
    counter: CounterState


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenHold:
    """A hold that nobody ended yet; past its deadline it is still held until the user's next call or the sweeper."""

    request_id: str
    amount_nanos: int
    reserved_at_ms: int
    deadline_ms: int
    tier: str
    model: str


@dataclass(frozen=True, slots=True)
class OpenHolds:
    """A user's open holds, the earliest deadline first; `count` is of all, also of those beyond the limit."""

    holds: tuple[OpenHold, ...]
    count: int


class SpendReader:
    """The spend of a workspace. Raises `StoreUnavailable` when the store does not answer."""

    def __init__(self, client: "redis.Redis", workspace: str, partitions: int = 1) -> None:
        self._client = client
        self._partitions = [PartitionKeys.of(workspace, number) for number in range(partitions)]

    async def store_time_ms(self) -> int:
        """Return the store's time, Unix milliseconds: the clock that owns windows."""
        with store_errors("telling the time"):
            seconds, microseconds = await self._client.time()
        return int(seconds) * 1000 + int(microseconds) // 1000

    def _keys_of(self, user_id: str) -> PartitionKeys:
        return self._partitions[partition_of(user_id, len(self._partitions))]

    async def counters(self, wanted: Sequence[tuple[str, Window]]) -> list[CounterState]:
        """Return users' counters in windows, in the order of the (user, window) pairs; zeros for what has none."""
        return [state or NEVER_COUNTED for state in await self._stored(wanted)]

    async def planned_counters(self, wanted: Sequence[tuple[str, Sequence[CountedWindow]]]) -> list[list[CounterState]]:
        """Return for each (user, counters of a plan) the counters as the user's next decision will see them.

        A zone that was never counted for the user starts from the workspace's counter (``seed_counter`` in
        ``lua/include/counters.lua``).
        """
        pairs = [(user_id, entry.window) for user_id, entries in wanted for entry in entries]
        stored = iter(await self._stored(pairs))
        found = [(user_id, entries, [next(stored) for _ in entries]) for user_id, entries in wanted]
        asked = [
            (user_id, entry.previous)
            for user_id, entries, states in found
            for entry, state in zip(entries, states, strict=True)
            if state is None and entry.previous is not None
        ]
        previous = await self._stored(asked)
        before = {pair for pair, state in zip(asked, previous, strict=True) if state is not None}
        return [
            _started(entries, states, [(user_id, entry.previous) in before for entry in entries])
            for user_id, entries, states in found
        ]

    async def _stored(self, wanted: Sequence[tuple[str, Window]]) -> list[CounterState | None]:
        keys = [self._keys_of(user_id).counter(window, user_id) for user_id, window in wanted]
        with store_errors("reading counters"):
            replies = await read_each(self._client, lambda pipeline, key: pipeline.get(key), keys)
        return [None if reply is None else parse_counter(reply).state for reply in replies]

    async def tier_totals(self, wanted: Sequence[tuple[str, Window]]) -> list[TierTotal]:
        """Return the totals of (tier, window) pairs over all users, in their order."""
        keys = [part.tier(window, tier) for tier, window in wanted for part in self._partitions]
        with store_errors("reading tier totals"):
            replies = iter(await read_each(self._client, lambda pipeline, key: pipeline.get(key), keys))
        shares = [[next(replies) for _ in self._partitions] for _ in wanted]
        totals = [[parse_counter(reply) for reply in share if reply is not None] for share in shares]
        return [
            TierTotal(sum(total.spend_nanos for total in share), sum(total.calls for total in share))
            for share in totals
        ]

    async def tiers_seen(self, *, since_ms: int, limit: int = MAX_TIERS) -> SeenTiers:
        """List the tiers with a total in a window that ends at `since_ms` or later, the latest first."""
        with store_errors("listing tiers"):
            replies = await read_each(
                self._client,
                lambda pipeline, keys: pipeline.zrange(
                    keys.tiers, "+inf", since_ms, desc=True, byscore=True, withscores=True, offset=0, num=limit + 1
                ),
                self._partitions,
            )
        ends: dict[str, int] = {}
        for tier, score in (row for rows in replies for row in rows):
            ends[tier.decode()] = max(int(score), ends.get(tier.decode(), 0))
        latest = sorted((SeenTier(tier, end_ms) for tier, end_ms in ends.items()), key=_age, reverse=True)
        return SeenTiers(tuple(latest[:limit]), complete=len(latest) <= limit)

    async def days(self, user_id: str, calendar: Calendar, *, now_ms: int, days: int = DAYS_KEPT) -> list[DaySpend]:
        """Return a user's spend by day of a calendar, the oldest first, today last; counters are kept 35 days."""
        windows = last_days(calendar, now_ms / 1000, days)
        counters = await self.counters([(user_id, window) for window in windows])
        return [DaySpend(*pair) for pair in zip(windows, counters, strict=True)]

    async def tallies(
        self, wanted: Sequence[tuple[str, Window]], *, user_ids: Sequence[str | None] | None = None
    ) -> list[dict[str, int]]:
        """Return the counted outcomes of (rule id, window) pairs: ``blocked``, ``blocked_nanos`` and so on.

        `user_ids` names the user of each rule that is an override, None for others: such a rule counts in one
        partition only.
        """
        users = user_ids or [None] * len(wanted)
        places = [self._partitions if user is None else [self._keys_of(user)] for user in users]
        keys = [
            part.tally(window, rule_id)
            for (rule_id, window), parts in zip(wanted, places, strict=True)
            for part in parts
        ]
        with store_errors("reading tallies"):
            replies = iter(await read_each(self._client, lambda pipeline, key: pipeline.hgetall(key), keys))
        return [_summed([next(replies) for _ in parts]) for parts in places]

    async def open_holds(self, user_id: str, *, limit: int = MAX_OPEN_HOLDS) -> OpenHolds:
        """Return a user's open holds with what their records say."""
        keys = self._keys_of(user_id)
        with store_errors("reading holds"):
            count = await self._client.zcard(keys.holds(user_id))
            members: Any = await self._client.zrange(keys.holds(user_id), 0, limit - 1)
            records = await read_each(self._client, lambda pipeline, key: pipeline.get(key), members)
        fields = [parse_record(record) for record in records if record is not None]
        return OpenHolds(tuple(_open_hold(record) for record in fields if record["state"] == "open"), count)


def _started(
    entries: Sequence[CountedWindow], stored: Sequence[CounterState | None], counted_before: Sequence[bool]
) -> list[CounterState]:
    """Put in the place of counters that do not exist what they would start from."""
    states: list[CounterState] = []
    for entry, state, before in zip(entries, stored, counted_before, strict=True):
        source = None if entry.seed is None or before else states[entry.seed]
        states.append(state or (NEVER_COUNTED if source is None else _start_of(source)))
    return states


def _start_of(source: CounterState) -> CounterState:
    """Return what a new zone's counter starts with: what is held there counts as spent here."""
    if source.spend_nanos == 0 and source.calls == 0:
        return NEVER_COUNTED
    return CounterState(source.spend_nanos + source.held_nanos, 0, source.calls, seeded=True)


def _age(tier: SeenTier) -> tuple[int, str]:
    """The order of a sorted set, so that a limit cuts each partition's tiers where it cuts the whole."""
    return tier.window_end_ms, tier.tier


def _summed(shares: Sequence[dict[bytes, bytes]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for share in shares:
        total.update({name.decode(): int(number) for name, number in share.items()})
    return dict(total)


def _open_hold(record: dict[str, str]) -> OpenHold:
    return OpenHold(
        request_id=record["request"],
        amount_nanos=int(record["amount"]),
        reserved_at_ms=int(record["at"]),
        deadline_ms=int(record["deadline"]),
        tier=record["tier"],
        model=record["model"],
    )
