"""Commits of the rules: what ``lua/commit_rules.lua`` is given, and the pages of a large book before it."""

import asyncio
import secrets
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import OutOfMemoryError, RedisError

from ledger.bulk_work import bulk_work
from ledger.errors import RevisionConflict, StoreFull, StoreUnavailable
from ledger.keys import RuleKeys
from ledger.rule_book import RuleBook
from ledger.rule_changes import ChangeCounts, RuleChange, RuleEdit, RulePosition
from ledger.rule_parsing import dump_rule
from ledger.rule_records import encode, encode_entry, encode_record
from ledger.scripts import load_script
from ledger.store_commands import store_errors

if TYPE_CHECKING:
    import redis.asyncio as redis

MAX_CHANGES: Final = 100_000
MAX_SNAPSHOTS: Final = 5
SNAPSHOT_TTL_S: Final = 35 * 24 * 3600
STAGED_TTL_S: Final = 3600
RECORDS_A_PAGE: Final = 500
ATTEMPTS: Final = 2

SNAPSHOT_SETTINGS: Final = ":settings"
SNAPSHOT_PRICES: Final = ":prices"
"""Fields of a snapshot beside its rules; no rule's id has a colon."""


class RuleCommits:
    """Writes changes of a workspace's rules."""

    def __init__(self, client: "redis.Redis", keys: RuleKeys, *, max_changes: int) -> None:
        self._client = client
        self._keys = keys
        self._max_changes = max_changes
        self._script = load_script("commit_rules")

    async def commit(self, edit: RuleEdit, onto: RuleBook) -> RuleChange:
        """See `RuleStore.commit`."""
        with store_errors("committing rules"):
            seconds, microseconds = await self._client.time()
        at_ms = seconds * 1000 + microseconds // 1000
        change = change_of(edit, onto, at_ms)
        if change.replaced:
            return await self._replace(change, onto)
        keys = [self._keys.head, self._keys.book, self._keys.changes, self._keys.staged("none"), self._keys.snapshot(0)]
        head = await self._head_arguments(change, onto)
        await self._run(keys, [*head, "", "", 0, *_written(change)], change)
        return change

    async def _replace(self, change: RuleChange, onto: RuleBook) -> RuleChange:
        """Stage the whole book, then let it take the place of the one before."""
        after = await asyncio.to_thread(_applied, onto, change)
        with store_errors("reading the list of snapshots"):
            listed: Any = await self._client.hget(self._keys.head, "snapshots")
        kept = decode_snapshots(listed)
        snapshots = sorted({*kept, onto.revision})
        dropped = [revision for revision in kept if revision not in snapshots[-MAX_SNAPSHOTS:]]
        staged_key = self._keys.staged(secrets.token_hex(8))
        keys = [self._keys.head, self._keys.book, self._keys.changes, staged_key, self._keys.snapshot(onto.revision)]
        names = ",".join(str(revision) for revision in snapshots[-MAX_SNAPSHOTS:])
        try:
            await self._stage(staged_key, after)
            arguments = [*await self._head_arguments(change, onto), len(after.entries), names, SNAPSHOT_TTL_S]
            dropped_keys = [self._keys.snapshot(revision) for revision in dropped]
            await self._run([*keys, *dropped_keys], [*arguments, 0, 0, *_entry(change)], change)
        except RevisionConflict:
            with store_errors("dropping a staged book"):
                await self._client.unlink(staged_key)
            raise
        return change

    async def _stage(self, staged_key: str, book: RuleBook) -> None:
        records = _records(book)
        while page := await asyncio.to_thread(lambda: dict(islice(records, RECORDS_A_PAGE))):
            with store_errors("staging rules"):
                pipeline = self._client.pipeline(transaction=False)
                pipeline.hset(staged_key, mapping=dict[Any, Any](page))
                pipeline.expire(staged_key, STAGED_TTL_S)
                await pipeline.execute()

    async def _head_arguments(self, change: RuleChange, onto: RuleBook) -> list[Any]:
        position = change.position
        settings = "" if change.settings is None else encode(change.settings.after)
        prices = "" if change.prices is None else await asyncio.to_thread(encode, change.prices.after)
        stands_at = [onto.revision, onto.position.tip]
        return [*stands_at, position.epoch, position.tip, self._max_changes, settings, prices]

    async def _run(self, keys: list[str], arguments: list[Any], change: RuleChange) -> None:
        """Run the script, and again if its reply was lost: it knows its own commit by the tip."""
        for attempt in range(ATTEMPTS):
            try:
                status, *details = await self._script.run(self._client, keys, arguments)
                break
            except OutOfMemoryError as error:
                raise StoreFull("the store has reached maxmemory and takes no rules") from error
            except (RedisError, OSError) as error:
                if attempt == ATTEMPTS - 1:
                    message = f"the store did not answer the commit; whether it was done is unknown: {error}"
                    raise StoreUnavailable(message) from error
        if status == b"conflict":
            await self._refuse_unless_done(int(details[0]), change)
        elif status != b"ok":
            raise StoreUnavailable("the rules took longer than an hour to write; try again")

    async def _refuse_unless_done(self, revision: int, change: RuleChange) -> None:
        """Raise `RevisionConflict`, unless our own commit was the one before those that we now conflict with."""
        entry_id = f"{change.revision}-0"
        with store_errors("looking for a commit"):
            entries: Any = await self._client.xrange(self._keys.changes, entry_id, entry_id)
        if not any(fields[b"tip"].decode() == change.position.tip for _, fields in entries):
            raise RevisionConflict(f"the rules stand at revision {revision} by now", revision=revision)


def decode_snapshots(text: bytes | None) -> list[int]:
    """Return the revisions that the head lists as having a snapshot."""
    return [int(revision) for revision in (text or b"").split(b",") if revision]


def change_of(edit: RuleEdit, onto: RuleBook, at_ms: int) -> RuleChange:
    """Return the change that an edit makes of a book at a moment, under a fresh name."""
    position = RulePosition(onto.epoch or secrets.token_hex(8), onto.revision + 1, secrets.token_hex(8))
    return RuleChange(
        position=position,
        parent=onto.position.tip,
        at_ms=at_ms,
        kind=edit.kind,
        actor=edit.actor,
        note=edit.note,
        deltas=edit.deltas,
        counts=ChangeCounts.of(edit.deltas),
        settings=edit.settings,
        settings_were=onto.settings_revision,
        prices=edit.prices,
        price_versions=edit.price_versions,
        replaced=edit.is_replacement,
    )


def _applied(book: RuleBook, change: RuleChange) -> RuleBook:
    with bulk_work():
        return book.apply(change)


def _written(change: RuleChange) -> list[Any]:
    """Return the arguments that name written and removed rules, and the trail's entry."""
    written: list[Any] = []
    removed: list[Any] = []
    for delta in change.deltas:
        if delta.after is None:
            removed.append(delta.id)
        else:
            written += [delta.id, encode_record(delta.after, change.stamp(delta.was))]
    return [len(written) // 2, *written, len(removed), *removed, *_entry(change)]


def _entry(change: RuleChange) -> list[Any]:
    fields = encode_entry(change)
    return [len(fields), *(part for field in fields for part in field)]


def _records(book: RuleBook) -> Iterator[tuple[str, str]]:
    calendar = book.workspace.calendar
    for rule_id, stored in book.entries.items():
        yield rule_id, encode_record(dump_rule(stored.rule, calendar), stored.stamp)
