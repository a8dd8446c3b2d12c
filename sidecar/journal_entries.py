"""What stands in a journal, and how: MessagePack lists that begin with their kind.

- ``["b", partition, lineage, number, plans, operations]``: a batch that the store has acknowledged, and where.
- ``["o", id, plan, operation]``: one operation that the store has not acknowledged.
- ``["a", id]``: it has, or will never have to.
- ``["l", partition, lineage]``: everything up to here is in the data of this lineage.

An operation names its plan by a hash. `plans` has the texts of those that were not told for a while, so that no damage
costs more than what follows until they are told again.
"""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import msgpack

from ledger.operations import Admission, Resolution
from ledger.places import Place
from ledger.plan_text import dump_plan, load_plan
from ledger.plans import Plan
from ledger.restores import Restore, RestoreKind

REPEAT_PLANS_EVERY: Final = 500
"""Batches after which a plan is told again."""
MAX_KNOWN_PLANS: Final = 4096
FIELDS: Final = (
    *("kind", "user_id", "request_id", "at_ms", "amount_nanos", "sent", "ttl_ms", "reserved_at_ms", "group", "model"),
    *(
        "price_version",
        "input_tokens",
        "output_tokens",
        "unpriced",
        "attempt",
        "not_after_ms",
        "meta",
        "reason",
        "answer",
    ),
)
"""Of a `Restore`, in their order, after its plan."""


@dataclass(frozen=True, slots=True)
class DoneBatch:
    """Operations that the store has acknowledged in one run, at `place`; those of plans that were lost are missing."""

    partition: int
    place: Place
    operations: tuple[Restore, ...]


@dataclass(frozen=True, slots=True)
class OpenOperation:
    """An operation that the store has not acknowledged."""

    id: int
    operation: Restore


@dataclass(frozen=True, slots=True)
class Closed:
    """The open operation of this id needs nothing any more."""

    id: int


@dataclass(frozen=True, slots=True)
class KnownLineage:
    """Everything that was journaled before is in the data of this lineage."""

    partition: int
    lineage: str


Told = DoneBatch | OpenOperation | Closed | KnownLineage


def restore_of_admission(admission: Admission, at_ms: int) -> Restore:
    """Return a check or reserve as it is to be done again."""
    return Restore(
        kind=RestoreKind(admission.operation),
        user_id=admission.user_id,
        request_id=admission.request_id,
        at_ms=at_ms,
        plan=admission.plan,
        amount_nanos=admission.amount_nanos,
        sent=admission.sent,
        ttl_ms=admission.ttl_ms,
        group=admission.group,
        model=admission.model,
        price_version=admission.price_version,
        input_tokens=admission.input_tokens,
        output_tokens=admission.output_tokens,
        unpriced=admission.unpriced,
        attempt=admission.attempt,
        meta=admission.meta,
    )


def restore_of_resolution(resolution: Resolution, at_ms: int) -> Restore:
    """Return a settle, release, extend or direct charge as it is to be done again."""
    return Restore(
        kind=RestoreKind(resolution.operation),
        user_id=resolution.user_id,
        request_id=resolution.request_id,
        at_ms=at_ms,
        plan=resolution.plan,
        amount_nanos=resolution.amount_nanos,
        sent=resolution.sent,
        ttl_ms=resolution.ttl_ms,
        reserved_at_ms=resolution.reserved_at_ms,
        group=resolution.group,
        model=resolution.model,
        price_version=resolution.price_version,
        input_tokens=resolution.input_tokens,
        output_tokens=resolution.output_tokens,
    )


Row = tuple[Plan | None, tuple[Any, ...]]
"""What a batch tells of one operation: its plan, and the values of `FIELDS`."""


def row_of_restore(restore: Restore) -> Row:
    """Return what a batch tells of an operation."""
    return restore.plan, _values(restore)


class Writer:
    """Makes entries. Not for two threads at once."""

    def __init__(self) -> None:
        self._hashes: dict[Plan, bytes] = {}
        self._told: dict[bytes, int] = {}
        self._batches = 0

    def begin_file(self) -> None:
        """Tell plans anew: the files before may be gone one day."""
        self._told = {}

    def batch(self, partition: int, place: Place, rows: Iterable[Row]) -> bytes:
        """Return the entry of an acknowledged batch."""
        self._batches += 1
        plans: dict[bytes, str] = {}
        listed = [(self._tell(plan, plans), *values) for plan, values in rows]
        return _pack(["b", partition, place.lineage, place.number, plans, listed])

    def _tell(self, plan: Plan | None, plans: dict[bytes, str]) -> bytes | None:
        if plan is None:
            return None
        digest = self._hashes.get(plan)
        if digest is None or self._batches - self._told.get(digest, -REPEAT_PLANS_EVERY) >= REPEAT_PLANS_EVERY:
            text = dump_plan(plan)
            digest = hashlib.sha256(text.encode()).digest()[:8]
            if len(self._hashes) >= MAX_KNOWN_PLANS:
                self._hashes.clear()
            self._hashes[plan] = digest
            if self._batches - self._told.get(digest, -REPEAT_PLANS_EVERY) >= REPEAT_PLANS_EVERY:
                plans[digest], self._told[digest] = text, self._batches
        return digest


def open_entry(number: int, restore: Restore) -> bytes:
    """Return the entry of an operation that the store has not acknowledged."""
    plan = None if restore.plan is None else dump_plan(restore.plan)
    return _pack(["o", number, plan, _values(restore)])


def closed_entry(number: int) -> bytes:
    """Return the entry that closes an open operation."""
    return _pack(["a", number])


def lineage_entry(partition: int, lineage: str) -> bytes:
    """Return the entry of a known lineage."""
    return _pack(["l", partition, lineage])


@dataclass(slots=True)
class Reader:
    """Reads entries, oldest first. `unknown_plans` counts operations whose plan was lost; they cannot be done again."""

    unknown_plans: int = 0
    unreadable: int = 0
    _plans: dict[bytes, Plan] = field(default_factory=dict)
    _texts: dict[str, Plan] = field(default_factory=dict)

    def read(self, entry: bytes) -> Told | None:
        """Return what an entry tells; None for one that another version wrote and this one cannot read."""
        try:
            kind, *rest = msgpack.unpackb(entry, strict_map_key=False)
            return self._readers()[kind](*rest)
        except (ValueError, KeyError, TypeError, msgpack.UnpackException):
            self.unreadable += 1
            return None

    def _readers(self) -> dict[str, Callable[..., Told]]:
        return {"b": self._read_batch, "o": self._read_open, "a": Closed, "l": KnownLineage}

    def _read_batch(
        self, partition: int, lineage: str, number: int, plans: dict[bytes, str], listed: list[list[Any]]
    ) -> DoneBatch:
        self._plans |= {digest: self._plan_of(text) for digest, text in plans.items()}
        operations = []
        for digest, *values in listed:
            plan = None if digest is None else self._plans.get(digest)
            if digest is not None and plan is None:
                self.unknown_plans += 1
            else:
                operations.append(_restore(plan, values))
        return DoneBatch(partition, Place(lineage, number), tuple(operations))

    def _read_open(self, number: int, plan: str | None, values: list[Any]) -> OpenOperation:
        return OpenOperation(number, _restore(None if plan is None else self._plan_of(plan), values))

    def _plan_of(self, text: str) -> Plan:
        """Return the plan of a text: one object for equal texts, so that a batch sends it once."""
        plan = self._texts.get(text)
        if plan is None:
            if len(self._texts) >= MAX_KNOWN_PLANS:
                self._texts.clear()
            plan = self._texts[text] = load_plan(text)
        return plan


def _values(restore: Restore) -> tuple[Any, ...]:
    return tuple(getattr(restore, name) for name in FIELDS)


def _restore(plan: Plan | None, values: list[Any]) -> Restore:
    fields = dict(zip(FIELDS, values, strict=True))
    fields["kind"] = RestoreKind(fields["kind"])
    return Restore(plan=plan, **fields)


def _pack(value: list[Any]) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed
