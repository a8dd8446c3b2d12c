"""Puts right what the audit finds (``lua/repair.lua``), while nobody else writes.

What was read counts only if not one run has changed the workspace meanwhile, and each partition is corrected only if
none has changed it since. So no call in flight is ever taken for a fault; what is written to is left as it is.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Final

from redis.exceptions import RedisError

from ledger.audit import TIMEOUTS, AuditReport, audit_store
from ledger.audit_difference import Difference
from ledger.audit_snapshot import read_snapshot
from ledger.connection import connect, stored_partitions
from ledger.errors import StoreUnavailable
from ledger.keys import PartitionKeys
from ledger.places import Place, decode_place
from ledger.redis_ledger import DEFAULT_MAX_EVENTS, RedisLedger
from ledger.repair_plan import Correction, CorrectionKind, RepairPlan, plan_repair
from ledger.script_arguments import ROW
from ledger.scripts import load_script

if TYPE_CHECKING:
    import redis.asyncio as redis

ATTEMPTS: Final = 5
CORRECTIONS_AT_ONCE: Final = 64
EVENT_META: Final = '{"note":"spendgate audit --repair"}'

Places = dict[int, Place]


@dataclass(slots=True, kw_only=True)
class RepairReport:
    """What was corrected, or would be, and what is `left` because nothing tells what is right.

    `is_busy`: others wrote all the time, so there may be more. `after` is the audit that followed a repair.
    """

    corrections: list[Correction] = field(default_factory=list)
    left: list[Difference] = field(default_factory=list)
    is_busy: bool = False
    after: AuditReport | None = None


def repair(redis_url: str, workspace: str, *, apply: bool) -> RepairReport:
    """Repair a workspace, or only say what that would do. Raises `StoreUnavailable`; then a part may be done."""
    return asyncio.run(repair_store(redis_url, workspace, apply=apply))


async def repair_store(redis_url: str, workspace: str, *, apply: bool) -> RepairReport:
    """Do as `repair`, on a running event loop."""
    client = connect(redis_url, TIMEOUTS)
    try:
        partitions = await stored_partitions(client, workspace) or 1
        report = await Repair(client, workspace, partitions).run(apply=apply)
    finally:
        await client.aclose()
    if apply:
        report.after = await audit_store(redis_url, workspace)
    return report


class Repair:
    """The work on one workspace."""

    def __init__(self, client: "redis.Redis", workspace: str, partitions: int) -> None:
        self._client = client
        self._workspace = workspace
        self._partitions = partitions
        self._ledger = RedisLedger(client, workspace=workspace, partitions=partitions)
        self._script = load_script("repair")

    async def run(self, *, apply: bool) -> RepairReport:
        """Read the workspace until it holds still, a few times; correct what was found then."""
        report = RepairReport()
        for _ in range(ATTEMPTS):
            places, plan = await self._read()
            if plan is None:
                continue
            report.left = list(plan.left)
            if not apply:
                report.corrections = list(plan.corrections)
                return report
            if await self._correct(report, places, plan.corrections):
                return report
        report.is_busy = True
        return report

    async def _read(self) -> tuple[Places, RepairPlan | None]:
        """Return where the data stands and what would be corrected; None if it has changed while it was read."""
        before = await self._places()
        snapshot = await read_snapshot(self._client, self._workspace)
        plan = plan_repair(snapshot, self._partitions)
        return before, plan if await self._places() == before else None

    async def _places(self) -> Places:
        places: Places = {}
        for number in range(self._partitions):
            await self._ledger.lineage(number)
            place = self._ledger.places[number]
            if place is not None:
                places[number] = place
        return places

    async def _correct(self, report: RepairReport, places: Places, corrections: Iterable[Correction]) -> bool:
        """Correct partition by partition; False once one of them has changed."""
        for chunk in _in_chunks(corrections):
            partition = chunk[0].partition
            place = await self._run(partition, places[partition], chunk)
            if place is None:
                return False
            places[partition] = place
            report.corrections += chunk
        return True

    async def _run(self, partition: int, place: Place, corrections: Sequence[Correction]) -> Place | None:
        """Run the program once; returns where the data stands then, None if it had changed."""
        keys = PartitionKeys.of(self._workspace, partition)
        names = [keys.events, keys.due, keys.tiers, keys.lineage]
        names += [name for correction in corrections for name in _keys_of(correction, keys)]
        head: list[str | int] = [keys.prefix, DEFAULT_MAX_EVENTS, place.lineage, place.number]
        arguments = [*head, EVENT_META, len(corrections), *map(_text, corrections)]
        try:
            status, *rest = await self._script.run(self._client, names, arguments)
        except (RedisError, OSError) as error:
            raise StoreUnavailable(f"the store did not answer: {error}; run the command again to carry on") from error
        return decode_place(rest[0]) if status == b"done" else None


def _keys_of(correction: Correction, keys: PartitionKeys) -> list[str]:
    if correction.window is None:
        return [keys.request(correction.name, correction.request_id), keys.holds(correction.name)]
    of_kind = keys.tier if correction.kind is CorrectionKind.TOTAL else keys.counter
    return [of_kind(correction.window, correction.name)]


def _in_chunks(corrections: Iterable[Correction]) -> Iterable[Sequence[Correction]]:
    """Yield the corrections of one partition after the other, a bounded number at once."""
    for _, group in groupby(sorted(corrections, key=lambda each: each.partition), key=lambda each: each.partition):
        own = list(group)
        for start in range(0, len(own), CORRECTIONS_AT_ONCE):
            yield own[start : start + CORRECTIONS_AT_ONCE]


def _text(correction: Correction) -> str:
    numbers = (
        *(correction.found_spend_nanos, correction.found_held_nanos),
        *(correction.spend_nanos, correction.held_nanos, correction.calls),
    )
    code = correction.window.code if correction.window else ""
    return ROW.join([correction.kind, correction.name, code, correction.calendar, *map(str, numbers)])
