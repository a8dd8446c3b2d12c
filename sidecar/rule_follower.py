"""Rules from the store: the cache follows what the control plane commits there, delta by delta."""

import asyncio
import logging
from functools import partial

from ledger.bulk_work import BULK_RULES, bulk_work
from ledger.errors import LedgerError, RuleSetInvalid
from ledger.rule_book import BookImage, apply_to_rules, changes_calendar
from ledger.rule_changes import NOWHERE, RuleChange, RulePosition
from ledger.rule_feed import BLOCK_S, RuleFeed
from ledger.rule_store import INLINE_RULES, RuleStore, parsed
from ledger.rules import EMPTY_RULE_SET, RuleSet
from sidecar.metrics import Metrics
from sidecar.rule_cache import RuleCache

FIRST_LOAD_S = 5.0
"""So long a start waits for the store's rules, before it serves with those that were kept."""

log = logging.getLogger("spendgate.rules")


class RuleFollower:
    """Keeps a cache at what the store has. Rules that cannot be used are counted, and those in force stay."""

    def __init__(self, store: RuleStore, cache: RuleCache, metrics: Metrics, *, block_s: float = BLOCK_S) -> None:
        self._metrics = metrics
        self._cache = cache
        self._feed = RuleFeed(
            store,
            _HeldRules(cache),
            on_contact=metrics.record_rules_followed,
            on_failure=self._count_failure,
            block_s=block_s,
        )

    async def load(self) -> None:
        """Take the store's rules before the first decision; if that cannot be, say so and go on.

        Where no rules were kept either, nothing is admitted until the store's have come: there may be limits.
        """
        self._cache.await_first()
        try:
            async with asyncio.timeout(FIRST_LOAD_S):
                await self._feed.catch_up()
        except LedgerError as error:
            self._count_failure(error)
            log.warning("starting with the rules kept here, if any: %s", error)
        except TimeoutError:
            log.warning("starting with the rules kept here, if any: the store takes long to give its own")

    async def run(self) -> None:
        """Follow until cancelled."""
        await self._feed.run()

    def _count_failure(self, error: LedgerError) -> None:
        if isinstance(error, RuleSetInvalid):
            self._metrics.record_rules_rejected()


class _HeldRules:
    """A cache as the feed changes it; see `ledger.rule_feed.Holder`."""

    def __init__(self, cache: RuleCache) -> None:
        self._cache = cache
        self._missed = NOWHERE

    @property
    def position(self) -> RulePosition:
        return self._cache.position

    async def apply(self, changes: list[RuleChange]) -> None:
        moves = any(changes_calendar(change) for change in changes)
        fresh = await _applied(self._cache.current, changes, moves=moves)
        await self._cache.follow(fresh, changes[-1].position, shares_rules=not moves)

    async def replace(self, image: BookImage) -> None:
        if image.position != NOWHERE:
            await self._cache.follow(await parsed(image, BookImage.rule_set), image.position, shares_rules=False)
        elif not self._cache.is_loaded:
            await self._cache.follow(EMPTY_RULE_SET, NOWHERE, shares_rules=True)
        elif self._missed != self.position:
            self._missed = self.position
            log.error("the store has lost the rules; those of revision %d stay in force here", self.position.revision)


async def _applied(rules: RuleSet, changes: list[RuleChange], *, moves: bool) -> RuleSet:
    """Return rules after changes, which move many to another calendar or not; in a thread if that takes long."""
    is_large = rules.count >= BULK_RULES and moves
    is_small = sum(len(change.deltas) for change in changes) <= INLINE_RULES
    if is_small and not is_large and all(change.prices is None for change in changes):
        return apply_to_rules(rules, *changes)
    return await asyncio.to_thread(partial(_apply_in_thread, rules, changes))


def _apply_in_thread(rules: RuleSet, changes: list[RuleChange]) -> RuleSet:
    if rules.count < BULK_RULES and all(change.prices is None for change in changes):
        return apply_to_rules(rules, *changes)
    with bulk_work():
        return apply_to_rules(rules, *changes)
