"""Wires the journal into a sidecar: its files, its replay in the background, its metrics."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from ledger.background import Background
from ledger.redis_ledger import RedisLedger
from sidecar.enforcer import Lanes
from sidecar.journal import Journal
from sidecar.journal_files import open_journal
from sidecar.journal_replay import Replayer
from sidecar.metrics import Metrics
from sidecar.settings import Settings
from sidecar.store_clock import StoreClock


@contextlib.asynccontextmanager
async def kept_journal(settings: Settings, clock: StoreClock, metrics: Metrics) -> AsyncIterator[Journal]:
    """Provide the journal of a sidecar, with its metrics. Raises `OSError` for a data directory that cannot be used."""
    opening = open_journal(
        Path(settings.data_dir),
        max_bytes=settings.journal_max_bytes,
        now_ms=clock.now_ms,
        landing_ms=settings.deadline_ms,
    )
    async with opening as journal:

        def oldest_s() -> float:
            oldest_ms = journal.oldest_open_ms()
            return 0.0 if oldest_ms is None else max(0.0, (clock.now_ms() - oldest_ms) / 1000)

        def show() -> None:
            metrics.set_journal(len(journal.open), len(journal.recovering))

        journal.on_change, journal.on_failure = show, metrics.record_journal_failure
        metrics.show_journal(size=lambda: journal.log.size, oldest_s=oldest_s)
        show()
        yield journal


def replay_journal(
    journal: Journal,
    ledger: RedisLedger,
    lanes: Lanes,
    clock: StoreClock,
    metrics: Metrics,
    background: Background,
) -> None:
    """Bring the journal to the store in the background, whenever there is something to bring."""
    replayer = Replayer(
        journal,
        ledger,
        partitions=len(lanes.breakers),
        now_ms=clock.now_ms,
        is_reachable=lambda partition: not lanes.breakers[partition].is_open,
        record=metrics.record_replayed,
    )
    journal.on_work = replayer.wake
    background.start(replayer.run())
