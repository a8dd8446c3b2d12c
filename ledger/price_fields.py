"""The fields of a price's document: each function returns what one value means, or raises `InvalidInput`."""

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal, InvalidOperation
from typing import Final

from ledger.errors import InvalidInput
from ledger.model_names import Pattern, matcher
from ledger.money import CAP_USD, MAX_TEXT_LENGTH
from ledger.names import parse_name
from ledger.rates import RATE_DECIMALS, TOKEN_RATES, TOKENS_A_RATE
from ledger.sections import shown
from ledger.usage import MAX_TOKENS

MAX_PATTERNS: Final = 100
MAX_SERVED: Final = 100
MAX_VERSION_LENGTH: Final = 120
HOUR_S: Final = 3600
MINUTE_S: Final = 60

_EXACT: Final = Context(prec=4 * MAX_TEXT_LENGTH)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME: Final = re.compile(r"([01]\d|2[0-3]):([0-5]\d)", re.ASCII)
_APIECE: Final = TOKENS_A_RATE


def parse_rate(value: object, *, field: str) -> int:
    """Return the rate of USD for a million tokens, a JSON number or a decimal string with at most 18 decimals."""
    return int(_decimal(value, field).scaleb(RATE_DECIMALS, context=_EXACT))


def parse_unit_rate(value: object, *, field: str) -> int:
    """Return the rate of USD apiece."""
    return int(_decimal(value, field).scaleb(RATE_DECIMALS, context=_EXACT)) * _APIECE


def rate_text(name: str, rate: int) -> str:
    """Return a rate as the decimal text that parses to it."""
    attos = rate if name in TOKEN_RATES else rate // _APIECE
    whole, fraction = divmod(attos, 10**RATE_DECIMALS)
    digits = f"{fraction:0{RATE_DECIMALS}d}".rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)


def parse_token_count(value: object, *, field: str) -> int:
    """Return a number of tokens, from 1 to 1,000,000,000."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MAX_TOKENS:
        raise InvalidInput(f"{field} must be a whole number from 1 to {MAX_TOKENS}, not {shown(value)}", field=field)
    return value


def parse_patterns(value: object, *, field: str) -> tuple[Pattern, ...]:
    """Return patterns: names with ``*`` for any text, regular expressions between slashes, lists of what all match."""
    if not isinstance(value, list) or len(value) > MAX_PATTERNS:
        raise InvalidInput(f"{field} must be a list of at most {MAX_PATTERNS} names or patterns", field=field)
    return tuple(_pattern(pattern, f"{field}[{index}]") for index, pattern in enumerate(value))


def dump_patterns(patterns: tuple[Pattern, ...]) -> list[object]:
    """Return the list that parses to these patterns."""
    return [pattern if isinstance(pattern, str) else list(pattern) for pattern in patterns]


def parse_provider_names(value: object, *, field: str) -> tuple[str, ...]:
    """Return names of providers."""
    if not isinstance(value, list) or len(value) > MAX_SERVED:
        raise InvalidInput(f"{field} must be a list of at most {MAX_SERVED} providers", field=field)
    return tuple(parse_name(name, field=f"{field}[{index}]") for index, name in enumerate(value))


def parse_version(value: object, *, field: str) -> str:
    """Return a version or source: 1-120 printable characters."""
    text = parse_name(value, field=field)
    if len(text) > MAX_VERSION_LENGTH:
        raise InvalidInput(f"{field} has more than {MAX_VERSION_LENGTH} characters", field=field)
    return text


def parse_day(value: object, *, field: str) -> int:
    """Return the Unix milliseconds at which a day begins in UTC; YAML makes a date of it, JSON has text."""
    if isinstance(value, date) and not isinstance(value, datetime):
        day: date | None = value
    else:
        day = _day(value)
    if day is None or day < _EPOCH.date():
        raise InvalidInput(f"{field} must be a day such as 2026-12-01, not {shown(value)}", field=field)
    return (datetime(day.year, day.month, day.day, tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)


def day_text(at_ms: int) -> str:
    """Return the UTC day of a moment."""
    return (_EPOCH + timedelta(milliseconds=at_ms)).date().isoformat()


def parse_time(value: object, *, field: str) -> int:
    """Return the second of the day of a time such as ``"16:30"``."""
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise InvalidInput(f'{field} must be a time of the day in UTC, in quotes: "16:30"', field=field)
    return int(found[1]) * HOUR_S + int(found[2]) * MINUTE_S


def time_text(second: int) -> str:
    """Return a second of the day as time."""
    return f"{second // HOUR_S:02d}:{second % HOUR_S // MINUTE_S:02d}"


def _decimal(value: object, field: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise InvalidInput(f"{field} must be a number or a decimal string, not {shown(value)}", field=field)
    text = value if isinstance(value, str) else repr(value)
    if len(text) > MAX_TEXT_LENGTH or not text.isascii() or "_" in text or text != text.strip():
        raise InvalidInput(f"{field} must be a decimal number", field=field)
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise InvalidInput(f"{field} must be a decimal number", field=field) from None
    if not amount.is_finite():
        raise InvalidInput(f"{field} must be finite", field=field)
    if amount < 0:
        raise InvalidInput(f"{field} must not be negative", field=field)
    if amount > CAP_USD:
        raise InvalidInput(f"{field} is beyond the cap of 8,000,000 USD", field=field)
    if amount and _decimals(amount) > RATE_DECIMALS:
        raise InvalidInput(f"{field} has more than {RATE_DECIMALS} decimals", field=field)
    return amount


def _decimals(amount: Decimal) -> int:
    exponent = amount.normalize(_EXACT).as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0


def _pattern(value: object, field: str) -> Pattern:
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return tuple(_plain_pattern(part, field) for part in value)
    return _plain_pattern(value, field)


def _plain_pattern(value: object, field: str) -> str:
    pattern = parse_name(value, field=field)
    try:
        matcher(pattern)
    except re.error as error:
        raise InvalidInput(f"{field} is no regular expression: {error}", field=field) from None
    if not pattern.strip("*"):
        raise InvalidInput(f"{field} matches every name", field=field)
    return pattern


def _day(value: object) -> date | None:
    if not isinstance(value, str) or not _DAY.fullmatch(value):
        return None
    try:
        return date.fromisoformat(value)
    except ValueError:
        return None
