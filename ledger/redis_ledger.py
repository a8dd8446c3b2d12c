"""The ledger in Redis: one method per program in ``lua/``."""

import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, NoReturn, TypeVar

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError

from ledger.adjustments import Adjusted, Adjustment
from ledger.decisions import EVENT_RETENTION_MS, StalePlan, UserUsage
from ledger.errors import StoreFull, StoreUnavailable
from ledger.keys import PartitionKeys, partition_of
from ledger.lone_admissions import LoneAdmissions, pack
from ledger.operations import Admission, Admitted, Resolution, Resolved
from ledger.places import Lineage, Place, decode_lineage, decode_place
from ledger.plans import Plan
from ledger.restores import Restore, Restored
from ledger.script_answers import decode_adjustment, decode_admission, decode_resolution, decode_usage
from ledger.script_arguments import Batch, PlanShelf
from ledger.script_connection import NotReplicated
from ledger.scripts import CommandRunner, GiveUp, Replicated, Script, Starter, load_script
from ledger.store_commands import is_out_of_service

Answer = TypeVar("Answer")
TellAnswers = Callable[[list[Answer] | Callable[[], Awaitable[list[Answer]]]], None]
"""Hears the answers of a program, in order, or what gets them because the first reply was an error."""

DEFAULT_REPLICA_WAIT_MS: Final = 80
DEFAULT_MAX_EVENTS: Final = 1_000_000
PROGRAMS: Final = ("admit", "resolve", "restore", "adjust", "usage")


def load_programs(*, replacements: dict[str, str] | None = None, shebang: bool = True) -> dict[str, Script]:
    """Return the programs that a `RedisLedger` runs; see `load_script` for the arguments, which are for tests."""
    return {name: load_script(name, replacements=replacements, shebang=shebang) for name in PROGRAMS}


class RedisLedger:
    """`ledger.operations.Ledger` over Redis or Valkey. Atomic: each call is one script over one hash slot.

    `connections` gives programs (`PROGRAMS`) a connection of their own; the rest goes through `client`.
    Errors of Redis become `StoreUnavailable` or `StoreFull`: whether the script ran is then unknown, and only a
    repeat with the same request ids is safe.

    A batch with an admission whose rules say `wait_for_replica` is answered once a replica has it, through a connection
    of `connections`; if none has within `replica_wait_ms`, the batch fails as `not_replicated`.
    """

    def __init__(
        self,
        client: CommandRunner,
        *,
        workspace: str,
        partitions: int = 1,
        max_events: int = DEFAULT_MAX_EVENTS,
        programs: dict[str, Script] | None = None,
        connections: Mapping[str, CommandRunner] | None = None,
        replica_wait_ms: int = DEFAULT_REPLICA_WAIT_MS,
    ) -> None:
        self._client = client
        self._connections = connections or {}
        self._starters = {name: each for name, each in self._connections.items() if isinstance(each, Starter)}
        self._replica_wait_ms = replica_wait_ms
        self._max_events = max_events
        self._programs = programs or load_programs()
        self._partitions = [PartitionKeys.of(workspace, number) for number in range(partitions)]
        self._has_one_partition = partitions == 1
        self._shelves = [PlanShelf(keys) for keys in self._partitions]
        self._lone_admissions = [
            LoneAdmissions(keys, partial(self._lone_words, number)) for number, keys in enumerate(self._partitions)
        ]
        self.places: list[Place | None] = [None] * partitions
        """Of each partition the place of the last `admit` or `resolve` that has returned; None: it changed nothing, and
        told no answer again."""

    def partition_of(self, user_id: str) -> int:
        """Return the partition of a user."""
        return 0 if self._has_one_partition else partition_of(user_id, len(self._partitions))

    def _batch(self, number: int) -> tuple[PartitionKeys, Batch]:
        keys = self._partitions[number]
        return keys, Batch(keys, self._shelves[number])

    async def admit(self, admissions: Sequence[Admission]) -> list[Admitted]:
        """Decide checks and reserves of one partition (``lua/admit.lua``)."""
        if not admissions:
            return []
        wait_ms = self._replica_wait_ms if _wants_replica(admissions) else 0
        number = self.partition_of(admissions[0].user_id)
        keys, arguments = self._admit_command(number, admissions)
        return self._read_admitted(number, admissions, await self._run("admit", keys, arguments, wait_ms=wait_ms))

    def start_admit(self, admissions: Sequence[Admission], tell: TellAnswers[Admitted]) -> GiveUp | None:
        """Send what `admit` sends, if that can be done at once; see `_start`."""
        starter, first, is_lone = self._starter("admit"), admissions[0], len(admissions) == 1
        if starter is None or first.plan.wait_for_replica or (not is_lone and _wants_replica(admissions)):
            return None
        number = self.partition_of(first.user_id)
        packed = self._lone_admissions[number].pack(first) if is_lone else pack(self._admit_words(number, admissions))
        read = partial(self._read_admitted, number, admissions)
        return self._start("admit", starter, packed, read, partial(self._admit_command, number, admissions), tell)

    def _lone_words(self, number: int, admission: Admission) -> tuple[Any, ...]:
        return self._admit_words(number, [admission])

    def _admit_words(self, number: int, admissions: Sequence[Admission]) -> tuple[Any, ...]:
        return self._programs["admit"].first_words(*self._admit_command(number, admissions))

    def _admit_command(self, number: int, admissions: Sequence[Admission]) -> tuple[list[str], list[str | int]]:
        keys, batch = self._batch(number)
        for admission in admissions:
            batch.add_admission(admission)
        shared = batch.keys(keys.events, keys.due, keys.tiers, keys.lineage)
        return shared, batch.arguments(keys.prefix, self._max_events)

    def _read_admitted(self, number: int, admissions: Sequence[Admission], reply: list[Any]) -> list[Admitted]:
        self.places[number] = decode_place(reply.pop())
        if len(admissions) == len(reply) == 1:
            return [decode_admission(admissions[0], reply[0])]
        return [decode_admission(*pair) for pair in zip(admissions, reply, strict=True)]

    async def resolve(self, resolutions: Sequence[Resolution]) -> list[Resolved]:
        """Settle, release, extend, expire and record in one partition (``lua/resolve.lua``)."""
        if not resolutions:
            return []
        number = self.partition_of(resolutions[0].user_id)
        keys, arguments = self._resolve_command(number, resolutions)
        return self._read_resolved(number, resolutions, await self._run("resolve", keys, arguments))

    def start_resolve(self, resolutions: Sequence[Resolution], tell: TellAnswers[Resolved]) -> GiveUp | None:
        """Send what `resolve` sends, if that can be done at once; see `_start`."""
        starter = self._starter("resolve")
        if starter is None:
            return None
        number = self.partition_of(resolutions[0].user_id)
        command = self._resolve_command(number, resolutions)
        packed = pack(self._programs["resolve"].first_words(*command))
        read = partial(self._read_resolved, number, resolutions)
        return self._start("resolve", starter, packed, read, lambda: command, tell)

    def _resolve_command(self, number: int, resolutions: Sequence[Resolution]) -> tuple[list[str], list[str | int]]:
        keys, batch = self._batch(number)
        for resolution in resolutions:
            batch.add_resolution(resolution)
        shared = batch.keys(keys.events, keys.due, keys.tiers, keys.lineage, keys.unattributed)
        return shared, batch.arguments(keys.prefix, self._max_events)

    def _read_resolved(self, number: int, resolutions: Sequence[Resolution], reply: list[Any]) -> list[Resolved]:
        *replies, place = reply
        self.places[number] = decode_place(place)
        return [decode_resolution(*pair) for pair in zip(resolutions, replies, strict=True)]

    async def adjust(self, adjustment: Adjustment) -> Adjusted | StalePlan:
        """Correct what a user has spent, in an operator's name (``lua/adjust.lua``)."""
        number = self.partition_of(adjustment.user_id)
        keys, batch = self._batch(number)
        batch.add_adjustment(adjustment)
        arguments = batch.arguments(keys.prefix, self._max_events)
        reply = await self._run("adjust", batch.keys(keys.events, keys.tiers, keys.lineage), arguments)
        answer = decode_adjustment(adjustment, reply)
        if isinstance(answer, Adjusted):
            self.places[number] = decode_place(reply[3])
        return answer

    async def restore(self, restores: Sequence[Restore]) -> list[Restored]:
        """Do again what a journal tells of users of one partition (``lua/restore.lua``)."""
        if not restores:
            return []
        return await self._restore(self.partition_of(restores[0].user_id), restores)

    async def _restore(self, number: int, restores: Sequence[Restore]) -> list[Restored]:
        keys, batch = self._batch(number)
        for restore in restores:
            batch.add_restore(restore)
        arguments = batch.arguments(keys.prefix, self._max_events)
        shared = (keys.events, keys.due, keys.tiers, keys.lineage, keys.unattributed)
        *replies, place = await self._run("restore", batch.keys(*shared), arguments)
        self.places[number] = decode_place(place)
        return [Restored(status.decode()) for (status,) in replies]

    async def lineage(self, partition: int) -> Lineage:
        """Return the lineage of a partition's data, after the server has looked whether it is still the same."""
        await self._restore(partition, [])
        return decode_lineage(_fields(await self._command("HGETALL", self._partitions[partition].lineage)))

    async def usage(self, user_id: str, plan: Plan) -> UserUsage:
        """Read the counters of `plan` for a user (``lua/usage.lua``)."""
        number = self.partition_of(user_id)
        keys, frame = self._partitions[number], self._shelves[number].get(plan).frame
        all_keys = [*frame.keys, *frame.counter_keys(user_id), keys.holds(user_id)]
        return decode_usage(await self._run("usage", all_keys, ["1", frame.text]))

    async def probe(self, partition: int) -> None:
        """Run ``lua/admit.lua`` once, without an operation: the way of every decision, which changes nothing.

        Raises `StoreError`; a store that has reached maxmemory answers all the same.
        """
        keys = self._partitions[partition]
        with contextlib.suppress(StoreFull):
            await self._run_empty("admit", partition, [keys.events, keys.due, keys.tiers, keys.lineage])

    async def warm(self, partition: int) -> None:
        """Run both programs of decisions once, without an operation: each has its connection then, and is loaded.

        Raises `StoreError`.
        """
        await self.probe(partition)
        keys = self._partitions[partition]
        shared = [keys.events, keys.due, keys.tiers, keys.lineage, keys.unattributed]
        await self._run_empty("resolve", partition, shared)

    async def _run_empty(self, name: str, partition: int, keys: list[str]) -> None:
        batch = Batch(self._partitions[partition], self._shelves[partition])
        await self._run(name, keys, batch.arguments(self._partitions[partition].prefix, self._max_events), repeats=0)

    async def due_users(self, partition: int, limit: int) -> list[str]:
        """List users who may have holds past their deadline, the longest overdue first."""
        now_ms = await self.store_time_ms()
        due_key = self._partitions[partition].due
        members = await self._command("ZRANGE", due_key, "-inf", now_ms, "BYSCORE", "LIMIT", 0, limit)
        return [member.decode() for member in members]

    async def trim_events(self, partition: int) -> None:
        """Drop the events of a partition that are older than 35 days, approximately."""
        oldest_ms = await self.store_time_ms() - EVENT_RETENTION_MS
        await self._command("XTRIM", self._partitions[partition].events, "MINID", "~", oldest_ms)

    async def store_time_ms(self) -> int:
        """Return the store's time, Unix milliseconds."""
        seconds, microseconds = await self._command("TIME")
        return int(seconds) * 1000 + int(microseconds) // 1000

    def _starter(self, name: str) -> Starter | None:
        """Return a connection that may be able to send a program at once."""
        return self._starters.get(name) if self._programs[name].has_functions else None

    def _start(
        self,
        name: str,
        starter: Starter,
        packed: bytes,
        read: Callable[[list[Any]], list[Answer]],
        command: Callable[[], tuple[list[str], list[Any]]],
        tell: TellAnswers[Answer],
    ) -> GiveUp | None:
        """Send a program at once, and return what gives it up; None if that takes waiting: then nothing was sent.

        `tell` hears the answers, in a later step; or what gets them, and raises as the program's own method does,
        where the first reply is an error. `command` tells what was packed.
        """

        async def go_on(error: Exception) -> list[Answer]:
            return read(await self._run(name, *command(), failed=error))

        def told(reply: Any) -> None:
            if isinstance(reply, Exception):
                tell(partial(go_on, reply))
                return
            try:
                answers = read(reply)
            except Exception as error:
                tell(partial(_raise, error))
            else:
                tell(answers)

        return starter.start(packed, told)

    async def _run(
        self,
        name: str,
        keys: list[str],
        arguments: list[Any],
        *,
        repeats: int = 1,
        wait_ms: int = 0,
        failed: Exception | None = None,
    ) -> Any:
        """Run a program; with `failed` it was sent once, and that is what came of it."""
        runner = self._connections.get(name, self._client)
        if wait_ms:
            runner = Replicated(runner, wait_ms)
        try:
            return await self._run_again_if_lost(name, runner, keys, arguments, repeats, failed)
        except NotReplicated as error:
            raise StoreUnavailable("no replica has the charge", code="not_replicated") from error
        except OutOfMemoryError as error:
            raise StoreFull("the store has reached maxmemory and refuses admissions") from error
        except ResponseError as error:
            if is_out_of_service(error):
                raise StoreUnavailable(f"the store takes no writes now: {error}") from error
            raise StoreUnavailable(f"the store refused to run {name}", code="store_error") from error
        except (RedisError, OSError) as error:
            raise StoreUnavailable(f"the store did not answer {name}") from error

    async def _run_again_if_lost(
        self,
        name: str,
        runner: CommandRunner,
        keys: list[str],
        arguments: list[Any],
        repeats: int,
        failed: Exception | None,
    ) -> Any:
        """Run a program; once more when the connection was lost, as an idle one is that the server has closed.

        The first run may have happened: the programs know their request ids, so that a repeat is a replay.
        """
        try:
            return await self._programs[name].run(runner, keys, arguments, failed=failed)
        except RedisConnectionError:
            if not repeats:
                raise
            return await self._programs[name].run(runner, keys, arguments)

    async def _command(self, *words: Any) -> Any:
        try:
            return await self._client.execute_command(*words)
        except (RedisError, OSError) as error:
            raise StoreUnavailable(f"the store did not answer {words[0]}") from error


def _wants_replica(admissions: Sequence[Admission]) -> bool:
    return any(admission.plan.wait_for_replica for admission in admissions)


async def _raise(error: Exception) -> NoReturn:
    raise error


def _fields(reply: Any) -> dict[bytes, bytes]:
    """Return a hash: a list of names and values, unless the client has made a dictionary of it."""
    return reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))
