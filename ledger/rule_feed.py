"""Follows the rules of a workspace: changes in order as they are committed, the whole book where that does not do."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol

from ledger.errors import LedgerError, RuleSetInvalid
from ledger.rule_book import BookImage
from ledger.rule_changes import RuleChange, RulePosition, follow_each_other
from ledger.rule_records import EntryUnreadable
from ledger.rule_store import CHANGES_A_PAGE, RuleStore
from ledger.rules import RuleUnknown

BLOCK_S: Final = 5.0
"""How long one wait lasts at most; after it the head is read, in case the stream lost what it should have said."""
RETRY_FIRST_S: Final = 0.1
RETRY_MAX_S: Final = 5.0
MAX_DOUBLINGS: Final = 10
WAITS_BEFORE_REREADING: Final = 6
"""Rules that cannot be read are tried again with the next change, or after so many waits."""

log = logging.getLogger("spendgate.rules")


class Holder(Protocol):
    """Holds rules that are to be what the store has."""

    @property
    def position(self) -> RulePosition:
        """What the held rules stand at."""
        ...

    async def apply(self, changes: list[RuleChange]) -> None:
        """Put changes in force that follow the position. Raises `RuleUnknown` if they do not fit."""
        ...

    async def replace(self, image: BookImage) -> None:
        """Put the whole book in force. Raises `RuleSetInvalid` if it cannot be.

        An image that stands nowhere says that nothing was committed yet, or that the store lost all.
        """
        ...


class RuleFeed:
    """Keeps a holder at what the store has, for as long as `run` runs.

    `on_contact` is called whenever the holder is found to be where the store is, `on_failure` with each error that was
    met. After an error the feed waits longer and longer, up to 5 seconds. `turn` is held while the holder changes.
    """

    def __init__(
        self,
        store: RuleStore,
        holder: Holder,
        *,
        on_contact: Callable[[], None] = lambda: None,
        on_failure: Callable[[LedgerError], None] = lambda _error: None,
        block_s: float = BLOCK_S,
    ) -> None:
        self.turn = asyncio.Lock()
        self._store = store
        self._holder = holder
        self._on_contact = on_contact
        self._on_failure = on_failure
        self._block_s = block_s

    async def run(self) -> None:
        """Follow until cancelled."""
        failures = 0
        while True:
            try:
                await self.catch_up()
                if failures:
                    log.warning("the rules are followed again, revision %d", self._holder.position.revision)
                failures = 0
                while True:
                    await self._follow()
            except LedgerError as error:
                self._on_failure(error)
                level = logging.DEBUG if failures else logging.WARNING
                log.log(level, "the rules cannot be followed, those in force stay: %s", error)
                failed = error
            await self._pause(failed, failures)
            failures = min(failures + 1, MAX_DOUBLINGS)

    async def catch_up(self) -> None:
        """Bring the holder to what the store has now."""
        async with self.turn:
            head = await self._store.position()
            while head != self._holder.position:
                if head is None:
                    await self._holder.replace(await self._store.read_image())
                    break
                await self._advance(head)
                head = await self._store.position()
        self._on_contact()

    async def _follow(self) -> None:
        try:
            changes = await self._store.wait(self._holder.position.revision, self._block_s)
        except EntryUnreadable:
            changes = []
        async with self.turn:
            is_next = bool(changes) and follow_each_other(self._holder.position, changes)
            if is_next:
                await self._apply(changes)
        if is_next:
            self._on_contact()
        else:
            await self.catch_up()

    async def _advance(self, head: RulePosition) -> None:
        position = self._holder.position
        if head.epoch == position.epoch and head.revision > position.revision:
            changes = await self._changes_after(position.revision)
            if changes and follow_each_other(position, changes):
                await self._apply(changes)
                return
        log.info("loading the rules of revision %d, which no changes lead to", head.revision)
        await self._holder.replace(await self._store.read_image())

    async def _changes_after(self, revision: int) -> list[RuleChange]:
        """Return the next changes; none if one of them is from a version that writes what this one cannot read."""
        try:
            return await self._store.changes_after(revision, CHANGES_A_PAGE)
        except EntryUnreadable as error:
            log.warning("%s", error)
            return []

    async def _apply(self, changes: list[RuleChange]) -> None:
        try:
            await self._holder.apply(changes)
        except RuleUnknown as error:
            log.warning("a change of the rules does not fit those in force, loading them anew: %s", error)
            await self._holder.replace(await self._store.read_image())

    async def _pause(self, error: LedgerError, failures: int) -> None:
        if isinstance(error, RuleSetInvalid):
            await self._wait_for_news()
        else:
            await asyncio.sleep(min(RETRY_FIRST_S * 2**failures, RETRY_MAX_S))

    async def _wait_for_news(self) -> None:
        """Rules that are refused today are refused tomorrow: read them again when there are others."""
        try:
            head = await self._store.position()
            for _ in range(WAITS_BEFORE_REREADING):
                if head is None or await self._store.wait(head.revision, self._block_s):
                    return
        except LedgerError:
            await asyncio.sleep(RETRY_MAX_S)
