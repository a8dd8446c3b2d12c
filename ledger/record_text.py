"""The record of a request id as it is stored: one text of fields, written by ``lua/include/records.lua``."""

from collections.abc import Mapping
from typing import Final

from ledger.plans import FIELD, parse_window_code
from ledger.script_arguments import ROW
from ledger.windows import Window

RECORD_SEPARATOR: Final = "\x1d"
TERMS_SEPARATOR: Final = "\x1c"
RECORD_FIELDS: Final = (
    *("op", "sent", "state", "charged", "at", "answer", "plan", "attempts", "group", "model", "price_version"),
    *("input", "output", "unpriced", "user", "request", "amount", "deadline", "settle_sent", "settle_answer"),
)
"""In the order of ``lua/include/records.lua``."""

TERMS_FIELDS: Final = ("context", "windows", "tiers", "budgets", "tier", "on_expiry", "on_unpriced")
"""What the field ``plan`` consists of, in the order of ``lua/include/terms.lua``."""


def parse_record(text: bytes) -> dict[str, str]:
    """Return the fields of a stored record by name, those of its plan among them.

    The marker of a settle that found no hold has no plan: its fields are empty.
    """
    fields = dict(zip(RECORD_FIELDS, text.decode().split(RECORD_SEPARATOR), strict=True))
    terms = fields.pop("plan")
    parts = terms.split(TERMS_SEPARATOR) if terms else [""] * len(TERMS_FIELDS)
    return fields | dict(zip(TERMS_FIELDS, parts, strict=True))


def tier_windows_of(record: Mapping[str, str]) -> tuple[tuple[Window, str], ...]:
    """Return the tier totals that a record's money is in, each as its window and tier.

    Stored by tier, windows first: the index of one of the record's own windows, or the code of another.
    """
    codes = record["windows"].split(",")
    rows = [row.split(FIELD) for row in record["tiers"].split(ROW) if row]
    return tuple(
        (parse_window_code(codes[int(window) - 1] if window.isdecimal() else window), tier)
        for windows, tier in rows
        for window in windows.split(",")
    )
