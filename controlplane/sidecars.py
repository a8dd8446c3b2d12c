"""Which sidecars run, and which rules each has: what "3 of 3 sidecars on revision 41" counts."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ledger.heartbeats import Heartbeats, SidecarState
from ledger.rule_book import RuleBook

KEPT_S: Final = 1.0
"""Many readers ask at the same time; the store is asked once a second for all of them."""

RECENTLY_MS: Final = 10 * 60 * 1000
"""So long an outage is worth a word after it has ended: most are over before a sidecar can tell of them."""

FROM_STORE: Final = "store"


class Standing(StrEnum):
    """How a sidecar's rules stand to those of the control plane."""

    CURRENT = "current"
    BEHIND = "behind"
    OWN_RULES = "own_rules"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class SidecarLine:
    """A sidecar and its standing: `own_rules` has them from a file or a push, `stale` was not heard of for 15 s."""

    state: SidecarState
    standing: Standing


@dataclass(frozen=True, slots=True)
class SidecarsNow:
    """All sidecars beside the revision of the control plane."""

    revision: int
    lines: tuple[SidecarLine, ...]

    def count(self, *standings: Standing) -> int:
        """Return how many sidecars stand so."""
        return sum(line.standing in standings for line in self.lines)

    @property
    def live(self) -> list[SidecarState]:
        """The sidecars that were heard of lately."""
        return [line.state for line in self.lines if line.standing is not Standing.STALE]

    @property
    def following(self) -> int:
        """How many live sidecars take their rules from the store."""
        return self.count(Standing.CURRENT, Standing.BEHIND)


class SidecarBoard:
    """Lists sidecars; asks the store once a second at most. `clock` is monotonic, in seconds."""

    def __init__(
        self, heartbeats: Heartbeats, book: Callable[[], RuleBook], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._heartbeats = heartbeats
        self._book = book
        self._clock = clock
        self._asking = asyncio.Lock()
        self._states: list[SidecarState] = []
        self._asked_s = float("-inf")

    async def now(self) -> SidecarsNow:
        """Return all sidecars seen within 24 hours; raises `StoreUnavailable`."""
        async with self._asking:
            if self._clock() - self._asked_s >= KEPT_S:
                self._states = await self._heartbeats.list()
                self._asked_s = self._clock()
        book = self._book()
        return SidecarsNow(book.revision, tuple(SidecarLine(state, _standing(state, book)) for state in self._states))


def was_degraded(state: SidecarState) -> bool:
    """Say whether a sidecar decided without the store within the last ten minutes."""
    return state.degraded_decisions > 0 and state.seen_ms - state.degraded_ms <= RECENTLY_MS


def _standing(state: SidecarState, book: RuleBook) -> Standing:
    if state.is_stale:
        return Standing.STALE
    if state.rules_source != FROM_STORE:
        return Standing.OWN_RULES
    is_current = state.epoch == book.epoch and state.revision == book.revision
    return Standing.CURRENT if is_current else Standing.BEHIND
