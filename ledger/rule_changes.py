"""Changes of the rules: what each commit did, in the order of revisions. The feed and the audit trail at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MAX_DELTAS: Final = 1_000
"""A commit that changes more rules is a replacement: readers load the book anew, the trail lists the first ones."""
MAX_PRICES_IN_TRAIL: Final = 500
"""So many prices, before and after together, stand in a change; more of them make it a replacement too."""

Document = Mapping[str, object]


class ChangeKind(StrEnum):
    """What an operator did."""

    EDIT = "edit"
    IMPORT = "import"
    RESTORE = "restore"
    SETTINGS = "settings"
    PRICES = "prices"


@dataclass(frozen=True, slots=True)
class RulePosition:
    """Where a reader of the rules stands.

    `epoch` names the life of a workspace's rules: it changes when the store lost them and they were begun anew. `tip`
    names the last commit: a store that went back in time (an older replica took over) and forward again may reach the
    same revision by other commits.
    """

    epoch: str
    revision: int
    tip: str


NOWHERE: Final = RulePosition("", 0, "")


@dataclass(frozen=True, slots=True)
class Stamp:
    """When a rule was made and last changed, Unix milliseconds of the store, by whom, and in which revision."""

    revision: int
    created_at_ms: int
    updated_at_ms: int
    updated_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleDelta:
    """One rule before and after a change, as documents; None where it was not there. `was` is the stamp before."""

    id: str
    before: Document | None
    after: Document | None
    was: Stamp | None = None


@dataclass(frozen=True, slots=True)
class DocumentSwap:
    """Settings or prices before and after a change."""

    before: object
    after: object


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeCounts:
    """How many rules a change added, changed and removed."""

    added: int = 0
    changed: int = 0
    removed: int = 0

    @classmethod
    def of(cls, deltas: tuple[RuleDelta, ...]) -> "ChangeCounts":
        """Count."""
        added = sum(delta.before is None for delta in deltas)
        removed = sum(delta.after is None for delta in deltas)
        return cls(added=added, changed=len(deltas) - added - removed, removed=removed)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleEdit:
    """A change that is wanted, made for one book; the store makes a `RuleChange` of it.

    `price_versions` are those before and after a change of prices.
    """

    kind: ChangeKind
    actor: str
    note: str = ""
    deltas: tuple[RuleDelta, ...] = ()
    settings: DocumentSwap | None = None
    prices: DocumentSwap | None = None
    price_versions: tuple[str, str] | None = None

    @property
    def is_empty(self) -> bool:
        """Say whether nothing would change."""
        return not self.deltas and self.settings is None and self.prices is None

    @property
    def is_replacement(self) -> bool:
        """Say whether it is too large to be told change by change."""
        return len(self.deltas) > MAX_DELTAS or _count(self.prices) > MAX_PRICES_IN_TRAIL


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleChange:
    """A change that was committed at `at_ms`, Unix milliseconds of the store, on the commit named `parent`.

    With `replaced` readers load the book anew; if it is `truncated` besides, `deltas` are the first of many and
    `counts` tells how many. `settings_were` is the revision of the settings before.
    """

    position: RulePosition
    parent: str
    at_ms: int
    kind: ChangeKind
    actor: str
    note: str
    deltas: tuple[RuleDelta, ...]
    counts: ChangeCounts
    settings: DocumentSwap | None
    settings_were: int
    prices: DocumentSwap | None
    price_versions: tuple[str, str] | None = None
    replaced: bool = False
    truncated: bool = False

    @property
    def revision(self) -> int:
        """The revision that the change made."""
        return self.position.revision

    @property
    def stands_on(self) -> RulePosition:
        """What the rules stood at before."""
        before = self.revision - 1
        return RulePosition(self.position.epoch, before, self.parent) if before else NOWHERE

    @property
    def swaps(self) -> bool:
        """Say whether settings or prices change, which are parsed as a whole."""
        return self.settings is not None or self.prices is not None

    def follows(self, position: RulePosition) -> bool:
        """Say whether the change may be applied to what stands at a position."""
        return not self.replaced and self.stands_on == position

    def stamp(self, was: Stamp | None) -> Stamp:
        """Return the stamp of a rule that this change wrote and that had the stamp `was`."""
        created_at_ms = self.at_ms if was is None else was.created_at_ms
        return Stamp(self.revision, created_at_ms, self.at_ms, self.actor)


def follow_each_other(position: RulePosition, changes: list[RuleChange]) -> bool:
    """Say whether changes may be applied one after the other to what stands at a position."""
    for change in changes:
        if not change.follows(position):
            return False
        position = change.position
    return True


def _count(prices: DocumentSwap | None) -> int:
    if prices is None:
        return 0
    return sum(count_prices(side) for side in (prices.before, prices.after))


def count_prices(document: object) -> int:
    """Return how many prices a document of `prices` has: a list, or a book with lists of models and overrides."""
    if isinstance(document, Mapping):
        return sum(count_prices(document.get(name)) for name in ("models", "overrides"))
    return len(document) if isinstance(document, list) else 0
