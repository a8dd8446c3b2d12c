"""The rule set in force: received from a push, a file or the control plane, swapped at once, kept on disk."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ledger.bulk_work import free_rule_set
from ledger.errors import StaleRevision
from ledger.rules import EMPTY_RULE_SET, RuleSet
from sidecar.rule_copy import read_copy, write_copy
from sidecar.rule_loading import UNSTATED_REVISION

_log = logging.getLogger(__name__)

Listener = Callable[[RuleSet], None]


class RuleCache:
    """Holds one rule set; readers take `current` and never wait. Belongs to one event loop.

    Without `data_dir` nothing is kept. `on_keep_failed` is called when the copy on disk could not be written: the
    rule set is in force all the same, but a restart would not know it.
    """

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        current: RuleSet = EMPTY_RULE_SET,
        on_keep_failed: Callable[[], None] = lambda: None,
    ) -> None:
        self.current = current
        self._data_dir = data_dir
        self._on_keep_failed = on_keep_failed
        self._listeners: list[Listener] = []
        self._swapping = asyncio.Lock()

    @classmethod
    async def load(cls, data_dir: Path, *, on_keep_failed: Callable[[], None] = lambda: None) -> "RuleCache":
        """Return a cache with the copy kept on disk; without rules if there is no usable copy."""
        kept = await asyncio.to_thread(read_copy, data_dir)
        return cls(data_dir, current=EMPTY_RULE_SET if kept is None else kept, on_keep_failed=on_keep_failed)

    @property
    def is_loaded(self) -> bool:
        """Say whether any rule set was ever in force here; the rule sets of documents start at revision 1."""
        return self.current.revision != UNSTATED_REVISION

    def on_change(self, listener: Listener) -> None:
        """Call `listener` with each new rule set, right after it came into force; it must be quick and not raise."""
        self._listeners.append(listener)

    async def swap(self, rule_set: RuleSet) -> bool:
        """Put a rule set in force and keep it; say whether it differs from the one before.

        A revision of 0 means the next one, unless the content is what is in force. The same revision with the same
        content changes nothing. Raises `StaleRevision` for an older revision, or the same one with other content.
        """
        async with self._swapping:
            accepted = await self._accept(rule_set)
            if accepted is None:
                return False
            retired = [self.current]
            self.current = accepted
            for listener in self._listeners:
                listener(accepted)
            await self._keep(accepted)
            await asyncio.to_thread(free_rule_set, retired)
            return True

    async def _accept(self, rule_set: RuleSet) -> RuleSet | None:
        """Return the rule set under the revision it is to have, None if it is the one in force."""
        in_force = self.current.revision
        stated = rule_set.revision
        if stated > in_force:
            return rule_set
        if stated not in (UNSTATED_REVISION, in_force):
            raise StaleRevision(f"revision {stated} is older than {in_force}, which is in force", field="revision")
        same = replace(rule_set, revision=in_force)
        if self.is_loaded and await asyncio.to_thread(same.__eq__, self.current):
            return None
        if stated == UNSTATED_REVISION:
            return replace(rule_set, revision=in_force + 1)
        message = f"revision {stated} is in force with other content; state a higher revision"
        raise StaleRevision(message, field="revision")

    async def _keep(self, rule_set: RuleSet) -> None:
        if self._data_dir is None:
            return
        try:
            await asyncio.to_thread(write_copy, self._data_dir, rule_set)
        except OSError:
            _log.exception("Revision %d is in force but could not be kept in %s", rule_set.revision, self._data_dir)
            self._on_keep_failed()
