"""The rule set in force: received from a push, a file or the store, swapped at once, kept on disk."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from ledger.bulk_work import free_rule_set
from ledger.errors import StaleRevision
from ledger.rule_changes import NOWHERE, RulePosition
from ledger.rules import EMPTY_RULE_SET, RuleSet
from ledger.uncut import uncut
from sidecar.rule_copy import note_numbered, read_copy, read_last_numbered, write_copy
from sidecar.rule_loading import UNSTATED_REVISION

KEEP_INTERVAL_S: Final = 2.0
RETRY_INTERVAL_S: Final = 30.0
KEEP_PAUSE: Final = 10
"""Times as long as a write took, the next one waits at least."""

_log = logging.getLogger(__name__)

Listener = Callable[[RuleSet], None]


class RuleCache:
    """Holds one rule set; readers take `current` and never wait. Belongs to one event loop.

    Without `data_dir` nothing is kept. A copy that could not be written is tried again by `run`; the rule set is in
    force all the same, but a restart would not know it.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        current: RuleSet = EMPTY_RULE_SET,
        position: RulePosition = NOWHERE,
        last_numbered: int = UNSTATED_REVISION,
    ) -> None:
        self.current = current
        self.position = position
        self.is_awaited = False
        """Whether there may be rules, of the store or a push, and none came yet: looked at for each admission."""
        self.is_keeping_failed = False
        """Whether the disk refused the last copy: a restart would begin with older rules."""
        self._last_numbered = last_numbered
        self._follows = False
        self._unkept = asyncio.Event()
        self._data_dir = data_dir
        self._listeners: list[Listener] = []
        self._swapping = asyncio.Lock()
        self._keeping = asyncio.Lock()

    @classmethod
    async def load(cls, data_dir: Path) -> "RuleCache":
        """Return a cache with the copy kept on disk; without rules if there is no usable copy."""
        copy = await asyncio.to_thread(read_copy, data_dir)
        last_numbered = await asyncio.to_thread(read_last_numbered, data_dir)
        kept, position = (EMPTY_RULE_SET, NOWHERE) if copy is None else copy
        return cls(data_dir, current=kept, position=position, last_numbered=last_numbered)

    @property
    def is_loaded(self) -> bool:
        """Say whether any rule set was ever in force here: those of documents start at revision 1, the store's at 0."""
        return self._follows or self.current.revision != UNSTATED_REVISION

    def await_first(self) -> None:
        """Note that there may be rules which are not known yet; the first rule set that comes ends it."""
        self.is_awaited = not self.is_loaded

    def on_change(self, listener: Listener) -> None:
        """Call `listener` with each new rule set, right after it came into force; it must be quick and not raise."""
        self._listeners.append(listener)

    async def swap(self, rule_set: RuleSet, *, keep_later: bool = False) -> bool:
        """Put a rule set in force and keep it; say whether it differs from the one before.

        With `keep_later` it is `run` that keeps it: who waits for the rules need not wait for the copy too.

        A revision of 0 means the next one that no other content had, unless the content is what is in force. The same
        revision with the same content changes nothing. Raises `StaleRevision` for an older revision, or the same one
        with other content.
        """
        async with self._swapping:
            accepted = await self._accept(rule_set)
            if accepted is None:
                return False
            retired = self._put_in_force(accepted, NOWHERE)
            if not keep_later:
                await self.keep_last()
            await asyncio.to_thread(free_rule_set, retired)
            return True

    async def follow(self, rule_set: RuleSet, position: RulePosition, *, shares_rules: bool) -> None:
        """Put in force what the store has at a position, whatever its revision; `run` keeps it on disk.

        With `shares_rules` the rule set was made of the one in force, so that little is freed with that one.
        """
        self._follows = True
        retired = self._put_in_force(rule_set, position)
        if not shares_rules:
            await asyncio.to_thread(free_rule_set, retired)

    async def run(self) -> None:
        """Keep on disk what is to be kept later, until cancelled: at once, then in ever longer steps if it takes long.

        What the disk refused is tried again every half minute. A write of 100,000 rules takes seconds of a processor.
        It must not become all that a sidecar does.
        """
        loop = asyncio.get_running_loop()
        while True:
            await self._unkept.wait()
            started_s = loop.time()
            await self.keep_last()
            pause_s = RETRY_INTERVAL_S if self.is_keeping_failed else KEEP_INTERVAL_S
            await asyncio.sleep(max(pause_s, KEEP_PAUSE * (loop.time() - started_s)))

    async def keep_last(self) -> None:
        """Keep what is in force on disk, if that was not done yet. Who is cancelled meanwhile has it kept first."""
        await uncut(self._keep())

    def _put_in_force(self, rule_set: RuleSet, position: RulePosition) -> list[RuleSet]:
        """Swap, tell it, and return the list that has the last reference to the one before."""
        retired = [self.current]
        self.current, self.position = rule_set, position
        self._unkept.set()
        self.is_awaited = False
        for listener in self._listeners:
            listener(rule_set)
        return retired

    async def _accept(self, rule_set: RuleSet) -> RuleSet | None:
        """Return the rule set under the revision it is to have, None if it is the one in force."""
        in_force = self.current.revision
        stated = rule_set.revision
        if stated > in_force or (stated != UNSTATED_REVISION and self.position != NOWHERE):
            return rule_set  # Revisions of the store say nothing about those of a file or a push.
        if stated not in (UNSTATED_REVISION, in_force):
            raise StaleRevision(f"revision {stated} is older than {in_force}, which is in force", field="revision")
        same = replace(rule_set, revision=in_force)
        if self.is_loaded and await asyncio.to_thread(same.__eq__, self.current):
            return None
        if stated == UNSTATED_REVISION:
            return replace(rule_set, revision=await self._next_number())
        message = f"revision {stated} is in force with other content; state a higher revision"
        raise StaleRevision(message, field="revision")

    async def _next_number(self) -> int:
        """Return a revision that no other rules had here, not even such as a crash left without a copy."""
        self._last_numbered = max(self.current.revision, self._last_numbered) + 1
        if self._data_dir is not None:
            try:
                await uncut(asyncio.to_thread(note_numbered, self._data_dir, self._last_numbered))
            except OSError:
                _log.exception("Revision %d could not be noted in %s", self._last_numbered, self._data_dir)
        return self._last_numbered

    async def _keep(self) -> None:
        async with self._keeping:
            if not self._unkept.is_set():
                return
            self._unkept.clear()
            rule_set = self.current
            if self._data_dir is None or rule_set.revision == UNSTATED_REVISION:
                return
            try:
                await asyncio.to_thread(write_copy, self._data_dir, rule_set, self.position)
                self.is_keeping_failed = False
            except OSError:
                _log.exception("Revision %d is in force but could not be kept in %s", rule_set.revision, self._data_dir)
                self.is_keeping_failed = True
                self._unkept.set()
