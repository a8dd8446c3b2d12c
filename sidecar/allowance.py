"""What rules let through while the store is away (`allow_up_to_usd`): counted for each rule, user and window.

A call fits into every allowance of its rules, or is refused. What it takes counts at once, and is on disk before the
call is answered, so that neither the next outage nor a restart gives an allowance a second time. An answer that is lost
gives nothing back. A settle does: the actual then stands in the place of the estimate.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from ledger.operations import Admission
from sidecar.allowance_counts import AllowanceCounts, Key
from sidecar.append_log import LogUnavailable

MAX_GRANTS: Final = 10_000
"""Calls that are known by their ids, so that a repeat takes nothing and a settle gives back."""
KEPT_WITHIN_S: Final = 0.25
"""A disk that takes longer, and longer than a decision may, keeps no caller waiting: the call is refused, and what it
took stays taken."""
COMPLAIN_EVERY_MS: Final = 60_000

log = logging.getLogger("spendgate.allowance")


class Log(Protocol):
    """Where takings are kept; see `sidecar.append_log.AppendLog`."""

    async def append(self, entry: bytes, *, undo: Callable[[], None] | None = None) -> None:
        """Keep an entry; raises `LogUnavailable` after `undo` if it was not kept."""
        ...

    def write(self, entry: bytes) -> None:
        """Keep an entry soon."""
        ...


@dataclass(slots=True)
class Grant:
    """What one call has taken from each of `keys`; `writing` until that is on disk."""

    sent: str
    keys: tuple[Key, ...]
    amount_nanos: int
    writing: "asyncio.Task[None] | None" = None


class Allowance:
    """See the module. Amounts are nano-USD; `now_ms` is the store's time as this process knows it.

    Of each allowance only one of `shares` equal parts is given here: what a sidecar's workers give adds up to it.
    `on_taken` is told what a call has taken, once for each call, when it is on disk, for which it waits
    `kept_within_s` at most.
    """

    def __init__(
        self,
        *,
        now_ms: Callable[[], int],
        on_taken: Callable[[int], None] = lambda _nanos: None,
        shares: int = 1,
        kept_within_s: float = KEPT_WITHIN_S,
    ) -> None:
        self._now_ms = now_ms
        self._shares = shares
        self._kept_within_s = kept_within_s
        self._on_taken = on_taken
        self._counts = AllowanceCounts()
        self._grants: dict[tuple[str, str], Grant] = {}
        self._writing: set[asyncio.Task[None]] = set()
        self._complained_ms = 0
        self._log: Log | None = None

    def keep_in(self, log: Log) -> None:
        """Begin to keep what is taken; before that everything is refused."""
        self._log = log

    async def take(self, admission: Admission) -> bool:
        """Take a call's amount from every allowance of its plan, once for each request id; False if it does not fit.

        Also False if it could not be kept. The taking itself is one step of the event loop. A caller who is cancelled
        leaves it taken.
        """
        grant = self._grant_of(admission) or self._new_grant(admission)
        if grant is None:
            return False
        if grant.writing is not None:
            try:
                async with asyncio.timeout(self._kept_within_s):
                    await asyncio.shield(grant.writing)
            except (LogUnavailable, TimeoutError):
                return False
        return True

    def settle(self, user_id: str, request_id: str, actual_nanos: int) -> None:
        """Let the actual of a call stand in the place of what it has taken; zero for one that never happened."""
        grant = self._grants.get((user_id, request_id))
        if grant is None or grant.writing is not None or self._log is None:
            return
        del self._grants[user_id, request_id]
        if grant.amount_nanos != actual_nanos:
            self._counts.add(grant.keys, actual_nanos - grant.amount_nanos)
            # Not at once: takings of this turn of the loop are written in the next one, and must stand before it.
            asyncio.get_running_loop().call_soon(self._log.write, self._counts.entry(grant.keys))

    def restore(self, entries: Sequence[bytes]) -> None:
        """Take over what was kept, oldest first: later counts replace earlier ones of the same key."""
        for entry in entries:
            self._counts.restore(entry)

    def checkpoint(self) -> Iterator[bytes]:
        """Return every count, as entries."""
        self._counts.forget_ended(self._now_ms())
        return self._counts.entries()

    def _grant_of(self, admission: Admission) -> Grant | None:
        """Return what this very call has taken before, in the same windows."""
        grant = self._grants.get((admission.user_id, admission.request_id))
        if grant is None or grant.sent != admission.sent or not set(_keys(admission)) <= set(grant.keys):
            return None
        return grant

    def _new_grant(self, admission: Admission) -> Grant | None:
        keys, amount_nanos = _keys(admission), admission.amount_nanos
        if self._log is None or not self._has_room(keys):
            return None
        for key, allowance in zip(keys, admission.plan.allowances, strict=True):
            if not _fits(amount_nanos, self._counts.get(key), allowance.limit_nanos // self._shares):
                return None
        grant = Grant(admission.sent, keys, amount_nanos)
        self._counts.add(keys, amount_nanos)
        self._remember((admission.user_id, admission.request_id), grant, self._log)
        return grant

    def _remember(self, call: tuple[str, str], grant: Grant, log: Log) -> None:
        """Note a grant under its call, and begin to write it: entries come into the log in the order of the takings."""

        def undo() -> None:
            self._counts.add(grant.keys, -grant.amount_nanos)
            if self._grants.get(call) is grant:
                del self._grants[call]

        def end(task: "asyncio.Task[None]") -> None:
            self._writing.discard(task)
            if not task.cancelled() and task.exception() is None:
                grant.writing = None
                self._on_taken(grant.amount_nanos)

        self._grants.pop(call, None)
        if len(self._grants) >= MAX_GRANTS:
            del self._grants[next(iter(self._grants))]
        self._grants[call] = grant
        entry = self._counts.entry(grant.keys)
        grant.writing = asyncio.get_running_loop().create_task(_append(log, entry, undo))
        self._writing.add(grant.writing)
        grant.writing.add_done_callback(end)

    def _has_room(self, keys: tuple[Key, ...]) -> bool:
        now_ms = self._now_ms()
        if self._counts.has_room(keys, now_ms):
            return True
        if abs(now_ms - self._complained_ms) >= COMPLAIN_EVERY_MS:
            self._complained_ms = now_ms
            log.error("too many allowances are counted; users who come new are refused until windows end")
        return False


async def _append(log: Log, entry: bytes, undo: Callable[[], None]) -> None:
    await log.append(entry, undo=undo)


def _keys(admission: Admission) -> tuple[Key, ...]:
    return tuple((each.window.code, each.rule_id, admission.user_id) for each in admission.plan.allowances)


def _fits(amount_nanos: int, spent_nanos: int, limit_nanos: int) -> bool:
    """Say whether an amount lands on the allowance or below; as with limits, nothing is let through on top of it."""
    return spent_nanos < limit_nanos and amount_nanos <= limit_nanos - spent_nanos
