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
    name = _parse_text(value, field, MAX_NAME_LENGTH)
    if refuse_any_tier and name == ANY_TIER:
        raise InvalidInput(f"{field} must not be {ANY_TIER!r}, which stands for every tier in a template", field=field)
    return name


def parse_request_id(value: object, *, field: str = "request_id") -> str:
    """Return a request id: text of 1-128 printable characters. Raises `InvalidInput` naming `field`."""
    return _parse_text(value, field, MAX_REQUEST_ID_LENGTH)


def is_name(value: object, max_length: int = MAX_NAME_LENGTH) -> TypeGuard[str]:
    """Say whether a value is text of 1 to `max_length` printable characters.

    Printable excludes control characters and lone surrogates, so neither field separators nor broken UTF-8 get in.
    """
    return isinstance(value, str) and 0 < len(value) <= max_length and value.isprintable()


def _parse_text(value: object, field: str, max_length: int) -> str:
    if is_name(value, max_length):
        return value
    if not isinstance(value, str):
        raise InvalidInput(f"{field} must be text", field=field)
    if not value:
        raise InvalidInput(f"{field} must not be empty", field=field)
    if len(value) > max_length:
        raise InvalidInput(f"{field} has more than {max_length} characters", field=field)
    raise InvalidInput(f"{field} has characters that cannot be printed", field=field)
