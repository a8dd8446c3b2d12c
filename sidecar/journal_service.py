"""Wires the journal into a sidecar: its files, its replay in the background, its metrics."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from ledger.background import Background
from ledger.plans import Plan, compile_plan, plan_without_user
from ledger.redis_ledger import RedisLedger
from sidecar.allowance_log import kept_policy
from sidecar.enforcer import Lanes
from sidecar.failure_policy import FailurePolicy
from sidecar.journal import KEPT_WITHIN_S, Journal
from sidecar.journal_files import open_journal
from sidecar.journal_replay import Replayer
from sidecar.metrics import Metrics
from sidecar.rule_cache import RuleCache
from sidecar.settings import Settings
from sidecar.store_clock import StoreClock


@dataclass(frozen=True, slots=True)
class Fallback:
    """What a sidecar has without its store: rules that decide, and a journal that keeps what they decided."""

    policy: FailurePolicy
    journal: Journal


@contextlib.asynccontextmanager
async def without_store(
    settings: Settings, clock: StoreClock, metrics: Metrics, rules: RuleCache, *, workers: int
) -> AsyncIterator[Fallback]:
    """Provide what is needed without the store, as earlier processes have left it in the data directory."""
    async with (
        kept_policy(
            Path(settings.data_dir), clock, metrics, rules, workers=workers, deadline_s=settings.deadline_ms / 1000
        ) as policy,
        kept_journal(settings, clock, metrics, rules) as journal,
    ):
        yield Fallback(policy, journal)


@contextlib.asynccontextmanager
async def kept_journal(
    settings: Settings, clock: StoreClock, metrics: Metrics, rules: RuleCache
) -> AsyncIterator[Journal]:
    """Provide the journal of a sidecar, with its metrics. Raises `OSError` for a data directory that cannot be used."""
    opening = open_journal(
        Path(settings.data_dir),
        max_bytes=settings.journal_max_bytes,
        now_ms=clock.now_ms,
        landing_ms=settings.deadline_ms,
        kept_within_s=max(KEPT_WITHIN_S, settings.deadline_ms / 1000),
    )
    async with opening as journal:

        def oldest_s() -> float:
            oldest_ms = journal.oldest_open_ms()
            return 0.0 if oldest_ms is None else max(0.0, (clock.now_ms() - oldest_ms) / 1000)

        def replan(user_id: str, tier: str | None, at_ms: int) -> Plan:
            if not user_id:
                return plan_without_user(rules.current, tier, at_ms)
            return compile_plan(rules.current, user_id, tier, at_ms)

        def show() -> None:
            metrics.set_journal(len(journal.open), len(journal.recovering))

        journal.replan, journal.on_change, journal.on_failure = replan, show, metrics.record_journal_failure
        metrics.show_journal(size=lambda: journal.log.size, oldest_s=oldest_s)
        show()
        yield journal


async def replay_journal(
    journal: Journal,
    ledger: RedisLedger,
    lanes: Lanes,
    clock: StoreClock,
    metrics: Metrics,
    background: Background,
    *,
    within_s: float,
) -> None:
    """Bring the journal to the store in the background, whenever there is something to bring.

    Returns after the first look, so that the first decisions after a restart of the store, which may have lost data,
    are not refused for it; at the latest after `within_s`, for a long journal goes on beside the first decisions.
    """
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
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await replayer.has_looked.wait()
