"""Names that callers choose: user ids, tiers, rule keys, request ids. They become parts of Redis keys as they are."""

from typing import Final, TypeGuard

from ledger.errors import InvalidInput
from ledger.rules import ANY_TIER

MAX_NAME_LENGTH: Final = 256
MAX_REQUEST_ID_LENGTH: Final = 128


def parse_name(value: object, *, field: str, refuse_any_tier: bool = False) -> str:
    """Return a user id, tier or key: text of 1-256 printable characters, compared exactly.

    Raises `InvalidInput` naming `field`; with `refuse_any_tier` also for ``*``, which names a template and nobody.
    """
    if not (isinstance(value, str) and 0 < len(value) <= MAX_NAME_LENGTH and value.isprintable()):
        raise _fault_of_text(value, field, MAX_NAME_LENGTH)
    if refuse_any_tier and value == ANY_TIER:
        raise InvalidInput(f"{field} must not be {ANY_TIER!r}, which stands for every tier in a template", field=field)
    return value


def parse_request_id(value: object, *, field: str = "request_id") -> str:
    """Return a request id: text of 1-128 printable characters. Raises `InvalidInput` naming `field`."""
    if not (isinstance(value, str) and 0 < len(value) <= MAX_REQUEST_ID_LENGTH and value.isprintable()):
        raise _fault_of_text(value, field, MAX_REQUEST_ID_LENGTH)
    return value


def is_name(value: object, max_length: int = MAX_NAME_LENGTH) -> TypeGuard[str]:
    """Say whether a value is text of 1 to `max_length` printable characters.

    Printable excludes control characters and lone surrogates, so neither field separators nor broken UTF-8 get in.
    """
    return isinstance(value, str) and 0 < len(value) <= max_length and value.isprintable()


def _fault_of_text(value: object, field: str, max_length: int) -> InvalidInput:
    if not isinstance(value, str):
        return InvalidInput(f"{field} must be text", field=field)
    if not value:
        return InvalidInput(f"{field} must not be empty", field=field)
    if len(value) > max_length:
        return InvalidInput(f"{field} has more than {max_length} characters", field=field)
    return InvalidInput(f"{field} has characters that cannot be printed", field=field)
