"""The record of a request id as it is stored: one text of fields, written by ``lua/include/records.lua``."""

from itertools import zip_longest
from typing import Final

RECORD_SEPARATOR: Final = "\x1d"
RECORD_FIELDS: Final = (
    *("op", "sent", "state", "charged", "at", "answer", "context", "windows", "tiers"),
    *("attempts", "group", "model", "price_version", "input", "output", "unpriced"),
    *("user", "request", "amount", "deadline", "budgets", "tier", "on_expiry", "on_unpriced"),
    *("settle_sent", "settle_answer"),
)
"""In the order of ``lua/include/records.lua``; empty fields at the end are left out."""


def parse_record(text: bytes) -> dict[str, str]:
    """Return the fields of a stored record by name; those that were left out are empty."""
    return dict(zip_longest(RECORD_FIELDS, text.decode().split(RECORD_SEPARATOR), fillvalue=""))
