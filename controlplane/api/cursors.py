"""Opaque cursors of lists that are ordered by a name: the name behind which the next page starts."""

import base64
import binascii

from ledger.errors import InvalidInput


def encode_cursor(name: str) -> str:
    """Return the cursor behind a name."""
    return base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")


def decode_cursor(text: str | None) -> str:
    """Return the name of a cursor, empty for none; raises `InvalidInput` for what this list never gave out."""
    try:
        return base64.b64decode((text or "") + "=" * (-len(text or "") % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        raise InvalidInput("cursor is not a cursor of this list", field="cursor") from None
