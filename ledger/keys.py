"""The only place that spells a Redis key.

``sg:<workspace>:{<partition>}:<what>:...``: all keys of a partition share one hash tag, so that every script touches
one slot. User ids, request ids and tiers stand last, or behind their length, so that no two keys can collide.
"""

import re
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from ledger.windows import Window

WORKSPACE_PATTERN: Final = re.compile(r"[a-z0-9-]{1,64}")


def partition_of(user_id: str, partitions: int) -> int:
    """Return the partition of a user: CRC-32 of the UTF-8 user id modulo the number of partitions."""
    return 0 if partitions == 1 else crc32(user_id.encode()) % partitions


def meta_key(workspace: str) -> str:
    """The hash of what must never change: the number of partitions."""
    return f"sg:{workspace}:meta"


@dataclass(frozen=True, slots=True)
class PartitionKeys:
    """The keys of one partition; `prefix` ends in a colon."""

    prefix: str

    @classmethod
    def of(cls, workspace: str, partition: int) -> "PartitionKeys":
        """Return the keys of a workspace's partition."""
        return cls(f"sg:{workspace}:{{{partition}}}:")

    @property
    def events(self) -> str:
        """The stream of the enforcement log."""
        return f"{self.prefix}events"

    @property
    def due(self) -> str:
        """The sorted set of users with open holds; score: a deadline, Unix ms, not after the earliest."""
        return f"{self.prefix}due"

    @property
    def tiers(self) -> str:
        """The sorted set of tiers that have totals; score: the end of their latest window, Unix ms."""
        return f"{self.prefix}tiers"

    @property
    def lineage(self) -> str:
        """The hash that tells which data this is, and by how many runs it was changed."""
        return f"{self.prefix}lineage"

    @property
    def unattributed(self) -> str:
        """The hash that sums settles which belong to no hold."""
        return f"{self.prefix}unattributed"

    def counter(self, window: Window, user_id: str) -> str:
        """The hash of a user's counter in a window."""
        return f"{self.prefix}counter:{window.code}:{user_id}"

    def tier(self, window: Window, tier: str) -> str:
        """The hash of a tier's totals in a window."""
        return f"{self.prefix}tier:{window.code}:{tier}"

    def tally(self, window: Window, rule_id: str) -> str:
        """The hash that counts a rule's outcomes in a window."""
        return f"{self.prefix}tally:{window.code}:{rule_id}"

    def breakdown(self, day: Window) -> str:
        """The hash of what was used in a day of the workspace, by group, model and tier."""
        return f"{self.prefix}breakdown:{day.code}"

    def holds(self, user_id: str) -> str:
        """The sorted set of a user's open holds; member: the record's key, score: the deadline, Unix ms."""
        return f"{self.prefix}holds:{user_id}"

    def erasing(self, user_id: str) -> str:
        """The name that a user gets whose erasure has begun and is not finished."""
        return f"{self.prefix}erasing:{user_id}"

    def request(self, user_id: str, request_id: str) -> str:
        """The string that records one request id of a user."""
        return f"{self.prefix}request:{len(request_id)}:{request_id}:{user_id}"


@dataclass(frozen=True, slots=True)
class RuleKeys:
    """The keys of a workspace's rules and sidecars, all in one slot; `prefix` ends in a colon."""

    prefix: str

    @classmethod
    def of(cls, workspace: str) -> "RuleKeys":
        """Return the keys of a workspace."""
        return cls(f"sg:{workspace}:{{rules}}:")

    @property
    def head(self) -> str:
        """The hash of what the rules stand at, with the settings and prices."""
        return f"{self.prefix}head"

    @property
    def book(self) -> str:
        """The hash of the rules, by id."""
        return f"{self.prefix}book"

    @property
    def changes(self) -> str:
        """The stream of changes; an entry's id is its revision."""
        return f"{self.prefix}changes"

    @property
    def sidecars(self) -> str:
        """The sorted set of sidecars; score: when one was last seen, Unix ms."""
        return f"{self.prefix}sidecars"

    @property
    def sidecar_states(self) -> str:
        """The hash of what sidecars last reported, by their id."""
        return f"{self.prefix}sidecar-states"

    def snapshot(self, revision: int) -> str:
        """The hash of the rules as they stood in a revision that the next one replaced."""
        return f"{self.prefix}snapshot:{revision}"

    def staged(self, token: str) -> str:
        """The hash of rules that are written in pages before they become the book."""
        return f"{self.prefix}staged:{token}"


@dataclass(frozen=True, slots=True)
class WebhookKeys:
    """The keys of a workspace's webhooks, all in one slot; `prefix` ends in a colon."""

    prefix: str

    @classmethod
    def of(cls, workspace: str) -> "WebhookKeys":
        """Return the keys of a workspace."""
        return cls(f"sg:{workspace}:{{webhooks}}:")

    def told(self, webhook: str) -> str:
        """The sorted set of what a webhook was told once; score: until when it is remembered, Unix ms."""
        return f"{self.prefix}told:{webhook}"

    def healths(self, webhook: str) -> str:
        """The hash of what a webhook was told of sidecars, by id: degraded or recovered, and the report's Unix ms."""
        return f"{self.prefix}healths:{webhook}"
