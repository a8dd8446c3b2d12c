"""The rules of a workspace in Redis: the book, the changes that made it, and how both are read.

Readers follow the changes in order and check that each stands on the one they have; where that fails they read the
book anew, in pages. ``docs/rules.md`` tells the whole way of a rule.
"""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ledger.bulk_work import BULK_RULES, bulk_work
from ledger.errors import HistoryGone, InvalidInput, StoreUnavailable
from ledger.keys import RuleKeys
from ledger.rule_book import BookImage, RuleBook, UndoImpossible
from ledger.rule_changes import NOWHERE, RuleChange, RuleEdit, RulePosition, count_prices, follow_each_other
from ledger.rule_commit import MAX_CHANGES, SNAPSHOT_PRICES, SNAPSHOT_SETTINGS, RuleCommits, decode_snapshots
from ledger.rule_records import decode_document, decode_entry, decode_head
from ledger.rules import RuleSet
from ledger.store_commands import store_errors

if TYPE_CHECKING:
    import redis.asyncio as redis

RULES_A_PAGE: Final = 500
CHANGES_A_PAGE: Final = 50
"""Few, because one may name 1,000 rules."""
MAX_READINGS: Final = 10
INLINE_BYTES: Final = 32 * 1024
INLINE_RULES: Final = 50
"""More rules than that are parsed in a thread."""
INLINE_PRICES: Final = 50
BULK_PRICES: Final = 500

HEAD_FIELDS: Final = ("epoch", "revision", "tip", "settings_revision", "settings", "prices")

T = TypeVar("T")


class RuleStore:
    """The rules of one workspace. Raises `StoreUnavailable` when the store does not answer.

    `wait` keeps a connection of `client` busy, whose timeout must be longer than the wait.
    """

    def __init__(self, client: "redis.Redis", *, workspace: str, max_changes: int = MAX_CHANGES) -> None:
        self._client = client
        self._keys = RuleKeys.of(workspace)
        self._commits = RuleCommits(client, self._keys, max_changes=max_changes)

    async def position(self) -> RulePosition | None:
        """Return what the rules stand at, None before the first commit (or after a loss of all)."""
        with store_errors("reading what the rules stand at"):
            head: Any = await self._client.hmget(self._keys.head, ["epoch", "revision", "tip"])
        return decode_head(head)

    async def load(self) -> RuleBook:
        """Return the book. Raises `RuleSetInvalid` if the store has rules that cannot be read here."""
        return await parsed(await self.read_image(), BookImage.book)

    async def load_rules(self) -> tuple[RulePosition, RuleSet]:
        """Return the rules as sidecars use them, without their stamps; raises as `load`."""
        image = await self.read_image()
        return image.position, await parsed(image, BookImage.rule_set)

    async def read_image(self) -> BookImage:
        """Read the book in pages, consistently: what changed meanwhile is read as well, or all is read again."""
        for _ in range(MAX_READINGS):
            image = await self._read_image()
            if image is not None:
                return image
        raise StoreUnavailable("the rules were replaced faster than they could be read; try again")

    async def changes_after(self, revision: int, limit: int = CHANGES_A_PAGE) -> list[RuleChange]:
        """Return the changes after a revision, oldest first."""
        with store_errors("reading changes of the rules"):
            entries: Any = await self._client.xrange(self._keys.changes, f"({revision}-0", "+", limit)
        return await _decoded(entries)

    async def wait(self, revision: int, timeout_s: float) -> list[RuleChange]:
        """Return the changes after a revision as soon as there is one; none after `timeout_s` without."""
        key, block_ms = self._keys.changes, max(1, int(timeout_s * 1000))
        with store_errors("waiting for changes of the rules"):
            reply: Any = await self._client.xread({key: f"{revision}-0"}, count=CHANGES_A_PAGE, block=block_ms)
        if not reply:
            return []
        streams = reply.values() if isinstance(reply, dict) else [entries for _, entries in reply]
        return await _decoded([entry for entries in streams for entry in entries])

    async def history(self, before_revision: int | None = None, limit: int = 50) -> list[RuleChange]:
        """Return changes, newest first, those before a revision if one is given."""
        newest = "+" if before_revision is None else f"({before_revision}-0"
        with store_errors("reading the history of the rules"):
            entries: Any = await self._client.xrevrange(self._keys.changes, newest, "-", limit)
        return await _decoded(entries)

    async def commit(self, edit: RuleEdit, onto: RuleBook) -> RuleChange:
        """Commit a change of the book it was made for (``lua/commit_rules.lua``) and return it, complete.

        Raises `RevisionConflict` if the rules stand elsewhere by now, `StoreUnavailable` if whether it was done is
        unknown.
        """
        return await self._commits.commit(edit, onto)

    async def book_at(self, revision: int) -> RuleBook:
        """Return the book as it stood in a revision. Raises `HistoryGone`, `InvalidInput` for one that never was."""
        book = await self._start_of_undo(revision)
        while book.revision > revision:
            limit = min(CHANGES_A_PAGE, book.revision - revision)
            changes = await self.history(book.revision + 1, limit)
            book = await asyncio.to_thread(_undone, book, changes)
        return book

    async def _start_of_undo(self, revision: int) -> RuleBook:
        """Return the earliest book at hand that is not older than a revision: a snapshot or the current one."""
        with store_errors("reading the list of snapshots"):
            listed: Any = await self._client.hget(self._keys.head, "snapshots")
        book = await self.load()
        if not 0 <= revision <= book.revision:
            raise InvalidInput(f"revision must be from 0 to {book.revision}", field="revision")
        for kept in sorted(snapshot for snapshot in decode_snapshots(listed) if snapshot >= revision):
            image = await self._read_snapshot(kept)
            if image is not None:
                return await parsed(image, BookImage.book)
        return book

    async def _read_image(self) -> BookImage | None:
        """Read head, book and the changes since the head; None if they do not fit together."""
        with store_errors("reading the rules"):
            head: Any = await self._client.hmget(self._keys.head, list(HEAD_FIELDS))
        start = decode_head(head[:3])
        if start is None:
            return BookImage(position=NOWHERE, settings_revision=0, settings=None, prices=None, records={})
        records = await self._read_pages(self._keys.book)
        image = BookImage(
            position=start,
            settings_revision=int(head[3] or 0),
            settings=decode_document(head[4]),
            prices=await _decoded_document(head[5]),
            records=records,
        )
        while True:
            changes = await self.changes_after(image.position.revision)
            if not follow_each_other(image.position, changes):
                return None
            image = image.with_changes(changes) if changes else image
            if len(changes) < CHANGES_A_PAGE:
                break
        now = await self.position()
        is_behind = now is not None and now.epoch == image.position.epoch and now.revision >= image.position.revision
        return image if is_behind else None

    async def _read_pages(self, key: str) -> dict[str, bytes | str]:
        records: dict[str, bytes | str] = {}
        cursor: Any = 0
        page: Any
        with store_errors("reading the rules"):
            while True:
                cursor, page = await self._client.hscan(key, cursor, count=RULES_A_PAGE)
                records.update((rule_id.decode(), text) for rule_id, text in page.items())
                if int(cursor) == 0:
                    return records

    async def _read_snapshot(self, revision: int) -> BookImage | None:
        """Read the book that the commit after `revision` replaced; None if it is gone."""
        changes = await self.changes_after(revision, 1)
        records = await self._read_pages(self._keys.snapshot(revision))
        settings, prices = records.pop(SNAPSHOT_SETTINGS, None), records.pop(SNAPSHOT_PRICES, None)
        if not changes or changes[0].revision != revision + 1 or settings is None:
            return None
        return BookImage(
            position=changes[0].stands_on,
            settings_revision=changes[0].settings_were,
            settings=decode_document(settings),
            prices=await _decoded_document(prices),
            records=records,
        )


async def parsed(image: BookImage, parse: Callable[[BookImage], T]) -> T:
    """Return what `parse` makes of an image; in a thread unless it is small, so that no loop stalls.

    A large image is used up by it.
    """
    prices = count_prices(image.prices)
    if len(image.records) <= INLINE_RULES and prices <= INLINE_PRICES:
        return parse(image)

    def work() -> T:
        if len(image.records) < BULK_RULES and prices < BULK_PRICES:
            return parse(image)
        with bulk_work():
            try:
                return parse(image)
            finally:
                image.free()

    return await asyncio.to_thread(work)


async def _decoded_document(text: bytes | str | None) -> object:
    """Return a document, a large one read in a thread."""
    if not text or len(text) <= INLINE_BYTES:
        return decode_document(text)
    return await asyncio.to_thread(decode_document, text)


async def _decoded(entries: list[tuple[bytes, dict[bytes, bytes]]]) -> list[RuleChange]:
    """Return changes, those of many rules read in a thread."""
    if sum(len(fields.get(b"body", b"")) for _, fields in entries) <= INLINE_BYTES:
        return [decode_entry(entry) for entry in entries]
    return await asyncio.to_thread(lambda: [decode_entry(entry) for entry in entries])


def _undone(book: RuleBook, changes: list[RuleChange]) -> RuleBook:
    revisions = [change.revision for change in changes]
    if revisions != list(range(book.revision, book.revision - len(changes), -1)) or not changes:
        raise HistoryGone(f"the changes before revision {book.revision} are not kept any more", field="revision")
    try:
        return book.undo(*changes)
    except UndoImpossible:
        message = f"the rules before revision {book.revision} were replaced, and the snapshot of them is gone"
        raise HistoryGone(message, field="revision") from None
