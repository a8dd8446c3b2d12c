"""Gives a workspace more partitions, offline: copies, audits the copy, and puts it in the place of what was.

Each step is noted in the workspace's meta hash, so that one that was interrupted is resumed: a copy is made anew, an
exchange is carried on. Until the copy has passed its audit nothing that is in force is touched.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import RedisError, ResponseError

from ledger.audit import AuditReport, audit_store
from ledger.connection import MAX_PARTITIONS, REPARTITION_FIELD, StoreTimeouts, connect
from ledger.errors import LedgerError, StoreUnavailable
from ledger.heartbeats import Heartbeats
from ledger.keys import meta_key
from ledger.repartition_copy import Copy, scan_partitions
from ledger.repartition_keys import NewPlaces
from ledger.rule_store import RuleStore

if TYPE_CHECKING:
    import redis.asyncio as redis

TIMEOUTS: Final = StoreTimeouts(connect_ms=2000, command_ms=60_000)
DELETED_AT_ONCE: Final = 200


class RepartitionRefused(LedgerError):
    """The workspace cannot get these partitions now; the message says why and what to do. Nothing was changed."""

    code = "repartition_refused"


class Step(StrEnum):
    """What is being done; noted before it begins."""

    COPY = "copy"
    DELETE = "delete"
    RENAME = "rename"


@dataclass(frozen=True, slots=True, kw_only=True)
class Repartitioned:
    """The audits before and after, and whether an earlier run was carried on."""

    before: AuditReport | None
    after: AuditReport
    resumed: bool


class Repartitioning:
    """The work on one workspace. `tell` hears of each step."""

    def __init__(self, url: str, workspace: str, partitions: int, tell: Callable[[str], None]) -> None:
        self._url = url
        self._workspace = workspace
        self._partitions = partitions
        self._tell = tell
        self._client: redis.Redis = connect(url, TIMEOUTS)
        self._meta = meta_key(workspace)

    async def run(self) -> Repartitioned:
        """Do it, or carry it on; raises `RepartitionRefused` and `StoreUnavailable`."""
        try:
            return await self._run()
        except (RedisError, OSError) as error:
            raise StoreUnavailable(f"the store did not answer: {error}; run the command again to carry on") from error
        finally:
            await self._client.aclose()

    async def _run(self) -> Repartitioned:
        step, partitions = await self._noted()
        before: AuditReport | None = None
        if step in {None, Step.COPY}:
            before = await self._audited(self._workspace, "before")
            await self._copy(partitions, before)
        if step in {None, Step.COPY, Step.DELETE}:
            await self._note(Step.DELETE)
            await self._delete(self._workspace)
            await self._note(Step.RENAME)
        await self._rename()
        await self._client.hset(self._meta, "partitions", str(self._partitions))
        after = await self._audited(self._workspace, "after")
        await self._client.hdel(self._meta, REPARTITION_FIELD)
        return Repartitioned(before=before, after=after, resumed=step is not None)

    async def _noted(self) -> tuple[Step | None, int]:
        """Return the step of an interrupted run and the partitions that are; refuse what cannot be done."""
        await self._refuse_if_in_use()
        reply: Any = await self._client.hmget(self._meta, ["partitions", REPARTITION_FIELD])
        if reply[0] is None:
            raise RepartitionRefused(f"the store has no workspace {self._workspace}")
        partitions, noted = int(reply[0]), (reply[1] or b"").decode()
        goal, _, step = noted.partition(":")
        if noted and int(goal) != self._partitions:
            raise RepartitionRefused(f"a run towards {goal} partitions was interrupted: finish it first")
        if not noted and not partitions < self._partitions <= MAX_PARTITIONS:
            raise RepartitionRefused(f"there are {partitions} partitions; give it more, at most {MAX_PARTITIONS}")
        return (Step(step) if noted else None), partitions

    async def _refuse_if_in_use(self) -> None:
        states = await Heartbeats(self._client, workspace=self._workspace).list()
        running = [state for state in states if not state.is_stale]
        if running:
            hosts = ", ".join(sorted({state.host for state in running}))
            raise RepartitionRefused(f"{len(running)} sidecars run ({hosts}): stop them and wait 15 seconds")

    async def _copy(self, partitions: int, before: AuditReport) -> None:
        places = NewPlaces(self._workspace, self._partitions, await self._override_users())
        await self._note(Step.COPY)
        await self._delete(places.staged_workspace)
        keys = await Copy(self._client, places, partitions).run()
        self._tell(f"{keys} keys copied")
        copied = await self._audited(places.staged_workspace, "of the copy")
        if _sums(copied) != _sums(before):
            raise RepartitionRefused(f"the copy is not what was copied: {_sums(copied)} instead of {_sums(before)}")

    async def _override_users(self) -> dict[str, str]:
        _, rules = await RuleStore(self._client, workspace=self._workspace).load_rules()
        return {rule.id: user_id for user_id, own in rules.overrides.items() for rule in own}

    async def _audited(self, workspace: str, which: str) -> AuditReport:
        report = await audit_store(self._url, workspace)
        self._tell(f"audit {which}: {report.lines[0]}; {report.lines[-1]}")
        if report.differences:
            raise RepartitionRefused(f"the audit {which} found differences: {'; '.join(report.lines[1:4])}")
        return report

    async def _note(self, step: Step) -> None:
        await self._client.hset(self._meta, REPARTITION_FIELD, f"{self._partitions}:{step}")

    async def _delete(self, workspace: str) -> None:
        async for chunk in scan_partitions(self._client, workspace):
            for start in range(0, len(chunk), DELETED_AT_ONCE):
                pipeline = self._client.pipeline(transaction=False)
                for key, _ in chunk[start : start + DELETED_AT_ONCE]:
                    pipeline.unlink(key)
                await pipeline.execute()

    async def _rename(self) -> None:
        """Put the copy in force, key by key, each within its slot; what has its name already is left."""
        places = NewPlaces(self._workspace, self._partitions, {})
        async for chunk in scan_partitions(self._client, places.staged_workspace):
            for key, old in chunk:
                try:
                    await self._client.rename(key.decode(), f"{places.final(old.partition).prefix}{old.rest}")
                except ResponseError as error:
                    if "no such key" not in str(error):  # It expired meanwhile.
                        raise
        self._tell("the copy is in force")


def _sums(report: AuditReport) -> tuple[int, int, int, int, int]:
    return report.counters, report.records, report.open_holds, report.held_nanos, report.charged_nanos
