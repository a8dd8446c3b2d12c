"""An adjustment as the journal keeps it, and its line in the file: a checksum, a space, JSON."""

import json
import zlib
from dataclasses import dataclass

from ledger.adjustments import Adjustment
from ledger.decisions import EVENT_RETENTION_MS
from ledger.places import Place
from ledger.plan_text import dump_plan, load_plan


@dataclass(frozen=True, slots=True)
class KeptAdjustment:
    """An adjustment that was done, as it is to be done again, and where in the store's history that was."""

    adjustment: Adjustment
    place: Place | None

    @property
    def identity(self) -> tuple[str, str]:
        """User and request id."""
        return self.adjustment.user_id, self.adjustment.request_id

    @property
    def done_ms(self) -> int:
        """When it was done, Unix ms."""
        return self.adjustment.done_ms or 0

    @property
    def until_ms(self) -> int:
        """When the last of its counters is forgotten, Unix ms."""
        return max(entry.window.end_s for entry in self.adjustment.plan.counters) * 1000 + EVENT_RETENTION_MS


def encode_line(entry: KeptAdjustment) -> bytes:
    """Return the line of an adjustment."""
    adjustment, place = entry.adjustment, entry.place
    fields = {
        "user_id": adjustment.user_id,
        "request_id": adjustment.request_id,
        "amount_nanos": adjustment.amount_nanos,
        "sent": adjustment.sent,
        "at_ms": adjustment.at_ms,
        "done_ms": adjustment.done_ms,
        "meta": adjustment.meta,
        "plan": dump_plan(adjustment.plan),
        "place": None if place is None else [place.lineage, place.number],
    }
    text = json.dumps(fields, separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(text), text)


def decode_line(line: bytes) -> KeptAdjustment:
    """Return the adjustment of a line; raises `ValueError`, `KeyError` or `TypeError` for one that is damaged."""
    checksum, _, text = line.partition(b" ")
    if int(checksum, 16) != zlib.crc32(text):
        raise ValueError("the checksum is wrong")
    fields = json.loads(text)
    place, plan = fields.pop("place"), load_plan(fields.pop("plan"))
    return KeptAdjustment(Adjustment(plan=plan, **fields), None if place is None else Place(*place))
