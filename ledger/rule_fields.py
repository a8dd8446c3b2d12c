"""The fields of a rule: each function returns what one value means, or raises `InvalidInput` naming the field."""

import re
from collections.abc import Mapping
from typing import Final

from ledger.errors import InvalidInput
from ledger.money import parse_usd
from ledger.names import parse_name
from ledger.rules import ALLOW, DENY, Policy, PolicyKind, RuleKind
from ledger.sections import shown
from ledger.windows import is_timezone

MAX_REVISION: Final = 2**53 - 1
MAX_THRESHOLDS: Final = 20
MAX_THRESHOLD_PCT: Final = 100
MAX_NOTE_LENGTH: Final = 500
ALLOWANCE: Final = "allow_up_to_usd"
CHARGE: Final = "charge_usd"

_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_KINDS: Final = {str(kind): kind for kind in RuleKind}
_POLICIES: Final = {"deny": DENY, "allow": ALLOW}


def parse_kind(value: object, *, field: str) -> RuleKind:
    """Return whom a rule is for."""
    if isinstance(value, str) and value in _KINDS:
        return _KINDS[value]
    raise InvalidInput(f"{field} must be one of {', '.join(_KINDS)}, not {shown(value)}", field=field)


def parse_override_key(value: object, *, field: str) -> str:
    """Return the user id of an override, which cannot be ``*``."""
    return parse_name(value, field=field, refuse_any_tier=True)


def parse_revision(value: object, *, field: str) -> int:
    """Return a revision, a whole number from 1 to 2^53 - 1."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MAX_REVISION:
        raise InvalidInput(f"{field} must be a whole number from 1 to 2^53 - 1, not {shown(value)}", field=field)
    return value


def parse_id(value: object, *, field: str) -> str:
    """Return a rule's id: 1-64 letters, digits, underscores and hyphens."""
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise InvalidInput(f"{field} must have 1-64 of the characters A-Z a-z 0-9 _ -", field=field)
    return value


def parse_timezone(value: object, *, field: str) -> str:
    """Return the name of a time zone that this machine knows."""
    if not isinstance(value, str) or not is_timezone(value):
        raise InvalidInput(f"{field} must be an IANA time zone such as Europe/Berlin, not {shown(value)}", field=field)
    return value


def parse_note(value: object, *, field: str) -> str:
    """Return a note: printable text with line breaks, at most 500 characters."""
    if not isinstance(value, str) or len(value) > MAX_NOTE_LENGTH:
        raise InvalidInput(f"{field} must be text of at most {MAX_NOTE_LENGTH} characters", field=field)
    if not value.isprintable() and not value.replace("\n", " ").isprintable():
        raise InvalidInput(f"{field} has characters that cannot be printed", field=field)
    return value


def parse_flag(value: object, *, field: str) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise InvalidInput(f"{field} must be true or false, not {shown(value)}", field=field)
    return value


def parse_threshold(value: object, *, field: str) -> tuple[int, ...]:
    """Return the thresholds of a rule that gives a single percentage."""
    return parse_thresholds([value], field=field)


def parse_thresholds(value: object, *, field: str) -> tuple[int, ...]:
    """Return thresholds in order: up to 20 different whole percentages from 1 to 100."""
    if not isinstance(value, list) or len(value) > MAX_THRESHOLDS:
        raise InvalidInput(f"{field} must be a list of at most {MAX_THRESHOLDS} percentages", field=field)
    for threshold in value:
        if isinstance(threshold, bool) or not isinstance(threshold, int) or not 0 < threshold <= MAX_THRESHOLD_PCT:
            raise InvalidInput(f"{field} must be whole percentages from 1 to 100, not {shown(threshold)}", field=field)
    if len(set(value)) != len(value):
        raise InvalidInput(f"{field} has the same percentage twice", field=field)
    return tuple(sorted(value))


def parse_failure_policy(value: object, *, field: str) -> Policy:
    """Return `on_store_failure`: deny, allow, or an allowance under `allow_up_to_usd`."""
    return _parse_policy(value, field, ALLOWANCE)


def parse_unpriced_policy(value: object, *, field: str) -> Policy:
    """Return `on_unpriced`: deny, allow, or a flat charge under `charge_usd`."""
    return _parse_policy(value, field, CHARGE)


def _parse_policy(value: object, field: str, amount_field: str) -> Policy:
    if isinstance(value, str) and value in _POLICIES:
        return _POLICIES[value]
    if not isinstance(value, Mapping) or list(value) != [amount_field]:
        shape = f'deny, allow or {{"{amount_field}": amount}}'
        raise InvalidInput(f"{field} must be {shape}, not {shown(value)}", field=field)
    return Policy(PolicyKind.AMOUNT, parse_usd(value[amount_field], field=f"{field}.{amount_field}"))
