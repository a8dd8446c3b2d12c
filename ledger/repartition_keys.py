"""Where the keys of a workspace go when its partitions become more: a user's with the user, shares of sums nowhere."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ledger.keys import PartitionKeys, partition_of

KEY_PARTS: Final = 4
"""``sg``, the workspace, the partition in braces, and what it is."""

STAGED_MARK: Final = "~"
"""No workspace's name contains it, so that what is staged for one cannot be another."""

OWNED: Final = frozenset({"counter", "holds", "request", "erasing"})
"""Kinds of keys that belong to one user."""

COPIED: Final = OWNED | {"tier", "tally", "breakdown", "unattributed", "tiers"}
"""Kinds that are copied as they are. Left out is `lineage`: what is copied is another data than before."""


@dataclass(frozen=True, slots=True)
class OldKey:
    """A key of a partition: its number and what stands behind the prefix."""

    partition: int
    rest: str

    @classmethod
    def parse(cls, key: bytes) -> "OldKey | None":
        """Return a partition's key, None for the rules' and others of the workspace."""
        parts = key.decode().split(":", 3)
        tag = parts[2].strip("{}") if len(parts) == KEY_PARTS else ""
        return cls(int(tag), parts[3]) if tag.isdigit() else None

    @property
    def kind(self) -> str:
        """The first word."""
        return self.rest.partition(":")[0]

    @property
    def user_id(self) -> str:
        """The user of a key of `OWNED`."""
        if self.kind == "request":
            _, length, rest = self.rest.split(":", 2)
            return rest[int(length) + 1 :]
        return self.rest.split(":", 4 if self.kind == "counter" else 1)[-1]


@dataclass(frozen=True, slots=True)
class NewPlaces:
    """The layout after a repartitioning, staged beside the one that is. `override_users` maps a rule to its user."""

    workspace: str
    partitions: int
    override_users: Mapping[str, str]

    @property
    def staged_workspace(self) -> str:
        """What stands in the place of the workspace's name while the new layout is not in force."""
        return f"{self.workspace}{STAGED_MARK}{self.partitions}"

    def partition_of(self, key: OldKey) -> int:
        """Return the partition that a key goes to. A share of a sum stays: its readers add up all partitions."""
        if key.kind in OWNED:
            return partition_of(key.user_id, self.partitions)
        if key.kind == "tally":
            user_id = self.override_users.get(key.rest.split(":", 4)[4])
            if user_id is not None:  # The tally of one user's rule is looked for where the user is.
                return partition_of(user_id, self.partitions)
        return key.partition

    def staged(self, partition: int) -> PartitionKeys:
        """Return the keys of a partition while it is staged."""
        return PartitionKeys.of(self.staged_workspace, partition)

    def final(self, partition: int) -> PartitionKeys:
        """Return the keys of a partition once it is in force."""
        return PartitionKeys.of(self.workspace, partition)
