"""Opaque cursors of lists that are sorted by a choice: the choice, and the place of the last row."""

import base64
import binascii
from typing import Any, Final

import orjson

from ledger.errors import InvalidInput

MAX_CURSOR_LENGTH: Final = 4096
PLACE_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "key": (str, str, int, str),
    "limit": (bool, int, str, str, int, str),
    "updated": (int, str, str, int, str),
    "spend": (int, str, str, int, str),
    "percent": (bool, float, str, str, int, str),
}
"""What a place consists of, by the sort; see `controlplane.rule_index`."""


def encode_place(sort: str, place: tuple[Any, ...]) -> str:
    """Return the cursor behind a place."""
    return base64.urlsafe_b64encode(orjson.dumps([sort, *place])).decode().rstrip("=")


def decode_place(text: str | None, *, sort: str) -> tuple[Any, ...] | None:
    """Return the place of a cursor, None for none; raises `InvalidInput` for what this sort never gave out."""
    if text is None:
        return None
    if len(text) > MAX_CURSOR_LENGTH:
        raise _foreign()
    try:
        stated, *place = orjson.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, TypeError):
        raise _foreign() from None
    if stated != sort or tuple(type(part) for part in place) != PLACE_TYPES[sort]:
        raise _foreign()
    return tuple(place)


def _foreign() -> InvalidInput:
    return InvalidInput("cursor is not a cursor of this list and sort", field="cursor")
