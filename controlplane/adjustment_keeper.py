"""Makes adjustments outlive the store's data: each is kept, and done again when the store has lost it."""

import asyncio
import logging
from dataclasses import replace
from typing import Final

from controlplane.adjustment_journal import AdjustmentJournal
from ledger.adjustments import Adjusted, Adjustment
from ledger.decisions import StalePlan
from ledger.errors import LedgerError, RequestMismatch, StoreUnavailable
from ledger.redis_ledger import RedisLedger
from ledger.uncut import uncut

LOOK_EVERY_S: Final = 2.0
"""How often the store is asked whether its data is still the same."""

log = logging.getLogger("spendgate.controlplane")


class AdjustmentKeeper:
    """Stands before a ledger for adjustments; without a journal it only passes them on.

    One at a time, and none while others are done again, so that what is kept and where it stands always agree.
    """

    def __init__(self, ledger: RedisLedger, journal: AdjustmentJournal | None) -> None:
        self._ledger = ledger
        self._journal = journal
        self._known: dict[int, str] = {}
        self._lock = asyncio.Lock()

    async def store_time_ms(self) -> int:
        """Return the store's time, Unix milliseconds."""
        return await self._ledger.store_time_ms()

    async def adjust(self, adjustment: Adjustment) -> Adjusted | StalePlan:
        """Adjust, and keep what was done before it is answered. Raises what `Ledger.adjust` raises.

        Raises `StoreUnavailable` where it was done and could not be kept: a repeat with the same id tries that again.
        """
        journal = self._journal
        if journal is None:
            return await self._ledger.adjust(adjustment)
        async with self._lock:
            answer = await self._ledger.adjust(adjustment)
            place = self._ledger.places[self._ledger.partition_of(adjustment.user_id)]
            if isinstance(answer, Adjusted) and not journal.has(adjustment):
                moment_ms = answer.stored_ms if adjustment.at_ms is None else adjustment.at_ms
                done = replace(adjustment, at_ms=moment_ms, done_ms=answer.stored_ms)
                try:
                    await uncut(asyncio.to_thread(journal.keep, done, place))
                except OSError as error:
                    log.warning("an adjustment was made and cannot be kept on disk: %s", error)
                    raise StoreUnavailable(
                        "the adjustment was made, but the disk of the control plane could not keep it: "
                        "repeat it with the same request_id",
                        code="not_kept",
                    ) from error
            return answer

    async def run(self) -> None:
        """Look again and again whether the store has lost any; what it has lost is done again."""
        while self._journal is not None:
            try:
                await self.look(self._journal)
            except StoreUnavailable as error:
                log.debug("adjustments could not be looked for: %s", error)
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self, journal: AdjustmentJournal) -> None:
        """Do what the store has lost again. Raises `StoreUnavailable`."""
        partitions = {self._ledger.partition_of(entry.adjustment.user_id) for entry in journal}
        for partition in sorted(partitions):
            async with self._lock:
                await self._look_at(partition, journal)

    async def _look_at(self, partition: int, journal: AdjustmentJournal) -> None:
        lineage = await self._ledger.lineage(partition)
        if self._known.get(partition) == lineage.current:
            return
        own = [entry for entry in journal if self._ledger.partition_of(entry.adjustment.user_id) == partition]
        lost = [entry.adjustment for entry in own if entry.place is None or not lineage.has(entry.place)]
        done = [await self._again(adjustment) for adjustment in lost]
        if any(done):
            log.warning("the store had lost %d adjustments: they were done again", sum(done))
        self._known[partition] = lineage.current

    async def _again(self, adjustment: Adjustment) -> bool:
        """Return whether it was done now. One that cannot be done is told and left."""
        try:
            answer = await self._ledger.adjust(adjustment)
        except RequestMismatch:
            log.warning("the id of an adjustment stands for something else now: %s", adjustment.request_id)
            return False
        except StoreUnavailable:
            raise
        except LedgerError as error:
            log.warning("an adjustment cannot be done again: %s: %s", adjustment.request_id, error)
            return False
        return isinstance(answer, Adjusted) and not answer.replayed
