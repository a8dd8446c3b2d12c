"""Erases a user: what was spent stays, under a random name that nobody can lead back, so that all sums stay true.

Records get the new name first, and new request ids; events that name the user are deleted. Then all counters get it in
one run, if no call has changed them since before the last records were looked for; it also writes the event that says
by whom and why, and ends the erasure (``lua/rename_user.lua``). One that was cut off is finished by the next.
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
from ledger.store_commands import read_each, store_errors
from ledger.user_data import UserKeys, UserReader

if TYPE_CHECKING:
    import redis.asyncio as redis

PSEUDONYM_PREFIX: Final = "erased-"
RECORDS_AT_ONCE: Final = 200
EVENTS_AT_ONCE: Final = 500
MAX_LOOKS: Final = 6
"""For the user's keys, of which calls that were not stopped make new ones; two are enough without any."""
UNFINISHED_MS: Final = 35 * 24 * 3600 * 1000

DONE: Final = "done"
CHANGED: Final = "changed"
ENDED: Final = "ended"
"""What a run says, see ``lua/rename_user.lua``."""


class OpenHolds(LedgerError):
    """Calls of the user are under way; settle or release them, or wait until they expire."""

    code = "open_holds"
    status = 409


class CallsGoOn(LedgerError):
    """The user's calls have not been stopped: there were new ones each time that the user's keys were looked for."""

    code = "calls_go_on"
    status = 409


@dataclass(slots=True, kw_only=True)
class Erasure:
    """What was done: keys that have another name, events that are gone. Nothing keeps the new name beside the old."""

    counters: int = 0
    records: int = 0
    events: int = 0


class UserEraser:
    """Erases users of a workspace. Raises `OpenHolds`, `CallsGoOn`, `StoreUnavailable`; a repeat goes on from there."""

    def __init__(self, client: "redis.Redis", workspace: str, partitions: int) -> None:
        self._client = client
        self._workspace = workspace
        self._partitions = partitions
        self._reader = UserReader(client, workspace, partitions)
        self._script = load_script("rename_user")

    async def erase(self, user_id: str, *, actor: str, note: str) -> Erasure:
        """Erase one user. The user's calls must have been stopped: a call that comes later begins a new history."""
        if holds := await self._reader.open_holds(user_id):
            raise _open_holds(f"{holds} calls")
        keys = self._reader.partition(user_id)
        names = await self._pseudonym(keys, user_id), user_id
        done, known = Erasure(), dict[str, bytes]()
        for _ in range(MAX_LOOKS):
            found = await self._reader.find(user_id)
            done.records += await self._rename_records(keys, names, found)
            done.events += await self._delete_events(keys, user_id)
            if known.keys() == set(found.counters.values()):
                event = {"actor": actor, "note": note, "counters": len(known), "records": done.records}
                status = await self._end(keys, names, found, known, event | {"events": done.events})
                if status == DONE:
                    done.counters = len(known)
                if status != CHANGED:
                    return done
            known = await self._texts(list(found.counters.values()))
        raise CallsGoOn("calls of this user go on: stop them, and erase again")

    async def _pseudonym(self, keys: PartitionKeys, user_id: str) -> str:
        """Return the new name, in the same partition: that of a run that was cut off, else a random one."""
        fresh = self._random_name(partition_of(user_id, self._partitions))
        with store_errors("beginning an erasure"):
            name: Any = await self._client.set(keys.erasing(user_id), fresh, nx=True, get=True, px=UNFINISHED_MS)
        return fresh if name is None else str(name.decode())

    def _random_name(self, partition: int) -> str:
        """Return a name of this partition; of so many partitions one in each is found after as many tries."""
        while True:
            name = f"{PSEUDONYM_PREFIX}{secrets.token_hex(16)}"
            if partition_of(name, self._partitions) == partition:
                return name

    async def _texts(self, counters: list[str]) -> dict[str, bytes]:
        """Return what counters say before records are looked for: no call has come since if they still say it."""
        with store_errors("reading a user's counters"):
            texts = await read_each(self._client, lambda pipe, key: pipe.get(key), counters)
        return {key: text for key, text in zip(counters, texts, strict=True) if text is not None}

    async def _rename_records(self, keys: PartitionKeys, names: tuple[str, str], found: UserKeys) -> int:
        ids = [(key, secrets.token_hex(16)) for key in found.records.values()]
        renamed = 0
        for start in range(0, len(ids), RECORDS_AT_ONCE):
            part = ids[start : start + RECORDS_AT_ONCE]
            pairs = [name for key, request in part for name in (key, keys.request(names[0], request))]
            status, count = await self._run(keys, names, pairs, ["records", *(request for _, request in part)])
            renamed += count
            if status == ENDED:
                break
        return renamed

    async def _end(
        self,
        keys: PartitionKeys,
        names: tuple[str, str],
        found: UserKeys,
        known: dict[str, bytes],
        meta: dict[str, Any],
    ) -> str:
        """Rename all counters, write the event and end the erasure, in one run. Return what came of it."""
        pairs = [name for window, key in found.counters.items() for name in (key, keys.counter(window, names[0]))]
        texts = [known[key] for key in found.counters.values()]
        with store_errors("noting an erasure"):
            seconds, microseconds = await self._client.time()
        fields = {
            "type": str(EventType.ERASED),
            "at": str(seconds * 1000 + microseconds // 1000),
            "user": names[0],
            "reason": str(EventType.ERASED),
            "amount": "0",
            "meta": json.dumps(meta),
        }
        words = [word for field in fields.items() for word in field]
        status, _ = await self._run(keys, names, pairs, ["counters", *texts, *words])
        return status

    async def _run(
        self, keys: PartitionKeys, names: tuple[str, str], pairs: list[str], words: list[Any]
    ) -> tuple[str, int]:
        """Run the program; return its status and how many keys it has renamed."""
        own = [keys.erasing(names[1]), keys.holds(names[1]), keys.due, keys.events]
        try:
            status, *count = await self._script.run(self._client, [*own, *pairs], [*names, *words])
        except (RedisError, OSError) as error:
            raise StoreUnavailable(f"the store did not rename a user's keys: {error}") from error
        if status == b"held":
            raise _open_holds("calls")
        return status.decode(), count[0] if count else 0

    async def _delete_events(self, keys: PartitionKeys, user_id: str) -> int:
        events: list[Event] = [event async for event in self._reader.events(user_id)]
        ids = [event.id for event in events]
        with store_errors("deleting a user's events"):
            for start in range(0, len(ids), EVENTS_AT_ONCE):
                await self._client.xdel(keys.events, *ids[start : start + EVENTS_AT_ONCE])
        return len(ids)


def _open_holds(calls: str) -> OpenHolds:
    return OpenHolds(f"{calls} of this user are held; settle or release them, or wait until they expire")
