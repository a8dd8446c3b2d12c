"""Erases a user: what was spent stays, under a random name that nobody can lead back, so that all sums stay true.

Counters and records get the new name (``lua/rename_user.lua``), request ids too; events that name the user are deleted;
one event says that a user was erased, by whom and why. A run that was cut off is finished by the next one, which adds
the counters of calls in between to those that have the new name already.
"""

import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import RedisError

from ledger.errors import LedgerError, StoreUnavailable
from ledger.events import Event, EventType
from ledger.keys import PartitionKeys, partition_of
from ledger.scripts import load_script
from ledger.store_commands import store_errors
from ledger.user_data import UserKeys, UserReader, in_parts

if TYPE_CHECKING:
    import redis.asyncio as redis

PSEUDONYM_PREFIX: Final = "erased-"
PAIRS_AT_ONCE: Final = 200
EVENTS_AT_ONCE: Final = 500
UNFINISHED_MS: Final = 35 * 24 * 3600 * 1000


class OpenHolds(LedgerError):
    """Calls of the user are under way; settle or release them, or wait until they expire."""

    code = "open_holds"
    status = 409


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """What was done: keys that have another name, events that are gone. Nothing keeps the new name beside the old."""

    counters: int
    records: int
    events: int


class UserEraser:
    """Erases users of a workspace. Raises `OpenHolds`, `StoreUnavailable`; a repeat finishes what was begun."""

    def __init__(self, client: "redis.Redis", workspace: str, partitions: int) -> None:
        self._client = client
        self._workspace = workspace
        self._partitions = partitions
        self._reader = UserReader(client, workspace, partitions)
        self._script = load_script("rename_user")

    async def erase(self, user_id: str, *, actor: str, note: str) -> Erasure:
        """Erase one user. The user's calls must have been stopped: a call meanwhile begins a new history."""
        if holds := await self._reader.open_holds(user_id):
            raise _open_holds(f"{holds} calls")
        keys = self._reader.partition(user_id)
        pseudonym = await self._pseudonym(keys, user_id)
        found = await self._reader.find(user_id)
        await self._rename(keys, user_id, found, pseudonym)
        events = await self._delete_events(keys, user_id)
        erasure = Erasure(counters=len(found.counters), records=len(found.records), events=events)
        await self._finish(keys, user_id, pseudonym, erasure, actor=actor, note=note)
        return erasure

    async def _pseudonym(self, keys: PartitionKeys, user_id: str) -> str:
        """Return the new name, in the same partition: that of a run that was cut off, else a random one."""
        fresh = self._random_name(partition_of(user_id, self._partitions))
        with store_errors("beginning an erasure"):
            await self._client.set(keys.erasing(user_id), fresh, nx=True, px=UNFINISHED_MS)
            name: Any = await self._client.get(keys.erasing(user_id))
        return fresh if name is None else str(name.decode())

    def _random_name(self, partition: int) -> str:
        """Return a name of this partition; of so many partitions one in each is found after as many tries."""
        while True:
            name = f"{PSEUDONYM_PREFIX}{secrets.token_hex(16)}"
            if partition_of(name, self._partitions) == partition:
                return name

    async def _rename(self, keys: PartitionKeys, user_id: str, found: UserKeys, pseudonym: str) -> None:
        pairs = [(key, keys.counter(window, pseudonym), "") for window, key in found.counters.items()]
        for key in found.records.values():
            request = secrets.token_hex(16)
            pairs.append((key, keys.request(pseudonym, request), request))
        old_user = user_id  # Of the first run, which looks for holds: a later call begins a history of its own.
        for part in list(in_parts(pairs, PAIRS_AT_ONCE)) or [[]]:
            names = [keys.holds(user_id), keys.due, *(name for old, new, _ in part for name in (old, new))]
            try:
                found_keys = await self._script.run(
                    self._client, names, [pseudonym, old_user, *(request for _, _, request in part)]
                )
            except (RedisError, OSError) as error:
                raise StoreUnavailable(f"the store did not rename a user's keys: {error}") from error
            if found_keys < 0:
                raise _open_holds("calls")
            old_user = ""

    async def _delete_events(self, keys: PartitionKeys, user_id: str) -> int:
        events: list[Event] = [event async for event in self._reader.events(user_id)]
        ids = [event.id for event in events]
        with store_errors("deleting a user's events"):
            for start in range(0, len(ids), EVENTS_AT_ONCE):
                await self._client.xdel(keys.events, *ids[start : start + EVENTS_AT_ONCE])
        return len(ids)

    async def _finish(
        self, keys: PartitionKeys, user_id: str, pseudonym: str, erasure: Erasure, *, actor: str, note: str
    ) -> None:
        meta = {"actor": actor, "note": note, "counters": erasure.counters, "records": erasure.records}
        with store_errors("noting an erasure"):
            seconds, microseconds = await self._client.time()
            fields = {
                "type": str(EventType.ERASED),
                "at": str(seconds * 1000 + microseconds // 1000),
                "user": pseudonym,
                "reason": str(EventType.ERASED),
                "amount": "0",
                "meta": json.dumps({**meta, "events": erasure.events}),
            }
            await self._client.xadd(keys.events, fields)  # type: ignore[arg-type]
            await self._client.delete(keys.erasing(user_id))


def _open_holds(calls: str) -> OpenHolds:
    return OpenHolds(f"{calls} of this user are held; settle or release them, or wait until they expire")
