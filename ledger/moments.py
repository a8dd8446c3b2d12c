"""Moments on the wire: RFC 3339 text with an offset, or the datetime that YAML made of it, to Unix milliseconds."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from ledger.errors import InvalidInput

_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
MAX_MOMENT_MS: Final = (datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC) - _EPOCH) // _MILLISECOND


def parse_moment(value: object, *, field: str) -> int:
    """Return the Unix milliseconds of a moment from 1970 to 9999, rounded down.

    Raises `InvalidInput` naming `field` for other types, for text that is not RFC 3339 and for times without offset.
    """
    moment = _parse_datetime(value, field)
    if moment.tzinfo is None:
        raise InvalidInput(f"{field} must have an offset, as in 2026-01-31T00:00:00Z", field=field)
    time_ms = (moment - _EPOCH) // _MILLISECOND
    if not 0 <= time_ms <= MAX_MOMENT_MS:
        raise InvalidInput(f"{field} must lie between the years 1970 and 9999", field=field)
    return time_ms


def _parse_datetime(value: object, field: str) -> datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, str) and _RFC3339.fullmatch(value):
        try:
            return datetime.fromisoformat(value.upper())
        except ValueError:
            pass
    raise InvalidInput(f"{field} must be a moment with an offset, as in 2026-01-31T00:00:00Z", field=field)
