"""The record of a request id as it is stored: one text of fields, written by ``lua/include/records.lua``."""

from typing import Final

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
