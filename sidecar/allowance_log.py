"""Allowances on disk: ``<data_dir>/allowance/<number>``, an append log of one process, which is read at start."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from sidecar.allowance import KEPT_WITHIN_S, Allowance
from sidecar.append_log import AppendLog, LogLimits
from sidecar.failure_policy import FailurePolicy
from sidecar.journal_files import claim_directory
from sidecar.log_segments import LogState, read_state
from sidecar.metrics import Metrics
from sidecar.rule_cache import RuleCache
from sidecar.store_clock import StoreClock

DIRECTORY_NAME: Final = "allowance"
LIMITS: Final = LogLimits(max_bytes=256 << 20, keep_s=3600.0)
"""Older files are of no use: each begins with every count. 100,000 counts take about 12 MB."""

log = logging.getLogger("spendgate.allowance")


@contextlib.asynccontextmanager
async def kept_policy(
    data_dir: Path, clock: StoreClock, metrics: Metrics, rules: RuleCache, *, workers: int, deadline_s: float
) -> AsyncIterator[FailurePolicy]:
    """Provide the policy of a sidecar, or of one of its workers, with the allowances kept in its data directory."""
    allowance = Allowance(
        now_ms=clock.now_ms,
        on_taken=metrics.record_allowance,
        shares=workers,
        kept_within_s=max(KEPT_WITHIN_S, deadline_s),
    )
    async with kept_allowance(data_dir, allowance):
        yield FailurePolicy(clock, allowance, knows_rules=lambda: rules.is_loaded)


@contextlib.asynccontextmanager
async def kept_allowance(data_dir: Path, allowance: Allowance) -> AsyncIterator[None]:
    """Restore an allowance from its log and keep it there.

    Where the log cannot be read nothing is kept, so that everything is refused; that is logged.
    """
    with contextlib.ExitStack() as stack:
        try:
            directory = await asyncio.to_thread(claim_directory, data_dir, stack, DIRECTORY_NAME)
            state = await asyncio.to_thread(read_state, directory)
        except OSError as error:
            log.error("allowances cannot be read, so that they refuse every call: %s", error)  # noqa: TRY400
            yield
            return
        _tell_damages(state)
        allowance.restore([*state.checkpoint, *state.entries])
        kept = AppendLog(directory, limits=LIMITS, checkpoint=allowance.checkpoint)
        await kept.start(state.next_number)
        allowance.keep_in(kept)
        try:
            yield
        finally:
            await kept.close()


def _tell_damages(state: LogState) -> None:
    """Log what was damaged; a torn end is what a crash leaves of an entry that nobody was told of."""
    for damaged in state.damages:
        if not damaged.damage.torn:
            log.error("%s: what was let through locally may be counted too low", damaged)
