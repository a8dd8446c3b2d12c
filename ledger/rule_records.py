"""The rules as they stand in Redis: records of the book, entries of the trail, both JSON in UTF-8, and back."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ledger.documents import unique
from ledger.errors import RuleSetInvalid, StoreUnavailable
from ledger.rule_changes import (
    MAX_DELTAS,
    ChangeCounts,
    ChangeKind,
    Document,
    DocumentSwap,
    RuleChange,
    RuleDelta,
    RulePosition,
    Stamp,
)

Fields = Mapping[bytes, bytes]

_KINDS: Final = {str(kind): kind for kind in ChangeKind}


class EntryUnreadable(StoreUnavailable):
    """A change in the trail is none that this version can read."""


def encode(value: object) -> str:
    """Return compact JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def encode_record(document: Document, stamp: Stamp) -> str:
    """Return a rule's record in the book."""
    return encode({"rule": document, **_stamp_fields(stamp)})


def decode_record(rule_id: str, text: bytes | str) -> tuple[Document, Stamp]:
    """Return document and stamp of a record. Raises `RuleSetInvalid` for what is none, or is another rule's."""
    try:
        record = json.loads(text)
        document, stamp = record["rule"], _stamp(record)
        is_own = document["id"] == rule_id
    except (ValueError, KeyError, TypeError) as error:
        raise RuleSetInvalid([(rule_id, "cannot be read")]) from error
    if not is_own:
        raise RuleSetInvalid([(rule_id, "is another rule")])
    return document, stamp


def decode_document(text: bytes | str | None) -> object:
    """Return the document of kept settings or prices, None if there are none. Raises `StoreUnavailable`."""
    if not text:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise StoreUnavailable("the rules' settings or prices cannot be read", code="store_error") from error


def encode_entry(change: RuleChange) -> list[tuple[str, str | int]]:
    """Return the fields of a change's entry; of very many deltas the first 1,000."""
    shown = change.deltas[:MAX_DELTAS]
    body: dict[str, Any] = {
        "changes": [_delta_fields(delta) for delta in shown],
        "counts": {
            "added": change.counts.added,
            "changed": change.counts.changed,
            "removed": change.counts.removed,
        },
        "truncated": len(shown) < len(change.deltas),
        "settings_were": change.settings_were,
    }
    if change.settings is not None:
        body["settings"] = _swap_fields(change.settings)
    if change.price_versions is not None:
        body["price_versions"] = list(change.price_versions)
    if change.prices is not None and not change.replaced:
        body["prices"] = _swap_fields(change.prices)
    fields: list[tuple[str, str | int]] = [
        ("at", change.at_ms),
        ("actor", change.actor),
        ("note", change.note),
        ("kind", change.kind),
        ("body", encode(body)),
    ]
    return [*fields, ("replaced", 1)] if change.replaced else fields


def decode_entry(entry: tuple[bytes, Fields]) -> RuleChange:
    """Return the change of a stream's entry. Raises `EntryUnreadable`."""
    entry_id, fields = entry
    try:
        body = json.loads(fields[b"body"], object_pairs_hook=unique)
        revision = int(entry_id.partition(b"-")[0])
        return RuleChange(
            position=RulePosition(fields[b"epoch"].decode(), revision, fields[b"tip"].decode()),
            parent=fields[b"parent"].decode(),
            at_ms=int(fields[b"at"]),
            kind=_KINDS[fields[b"kind"].decode()],
            actor=fields[b"actor"].decode(),
            note=fields[b"note"].decode(),
            deltas=tuple(_delta(delta) for delta in body["changes"]),
            counts=ChangeCounts(**body["counts"]),
            settings=_swap(body.get("settings")),
            settings_were=body["settings_were"],
            prices=_swap(body.get("prices")),
            price_versions=_versions(body.get("price_versions")),
            replaced=fields.get(b"replaced") == b"1",
            truncated=body["truncated"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        shown = entry_id.decode(errors="replace")
        raise EntryUnreadable(f"entry {shown} of the rules' changes cannot be read", code="store_error") from error


def decode_head(values: Sequence[bytes | None]) -> RulePosition | None:
    """Return the position of the head's epoch, revision and tip, None if nothing was committed yet."""
    epoch, revision, tip = values
    if epoch is None or revision is None or tip is None:
        return None
    return RulePosition(epoch.decode(), int(revision), tip.decode())


def _stamp_fields(stamp: Stamp) -> dict[str, object]:
    return {
        "revision": stamp.revision,
        "created_at_ms": stamp.created_at_ms,
        "updated_at_ms": stamp.updated_at_ms,
        "updated_by": stamp.updated_by,
    }


def _stamp(fields: Mapping[str, Any]) -> Stamp:
    return Stamp(fields["revision"], fields["created_at_ms"], fields["updated_at_ms"], fields["updated_by"])


def _delta_fields(delta: RuleDelta) -> dict[str, object]:
    fields: dict[str, object] = {"id": delta.id, "before": delta.before, "after": delta.after}
    if delta.was is not None:
        fields["was"] = _stamp_fields(delta.was)
    return fields


def _delta(fields: Mapping[str, Any]) -> RuleDelta:
    was = fields.get("was")
    return RuleDelta(
        id=fields["id"], before=fields["before"], after=fields["after"], was=None if was is None else _stamp(was)
    )


def _swap_fields(swap: DocumentSwap) -> dict[str, object]:
    return {"before": swap.before, "after": swap.after}


def _versions(versions: list[str] | None) -> tuple[str, str] | None:
    if versions is None:
        return None
    before, after = versions
    return before, after


def _swap(fields: Mapping[str, object] | None) -> DocumentSwap | None:
    return None if fields is None else DocumentSwap(fields["before"], fields["after"])
