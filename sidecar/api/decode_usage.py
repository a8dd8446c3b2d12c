"""The `usage` of a decoded body: model and tokens, known or still to be estimated."""

from typing import Any, Final

from ledger.errors import InvalidInput
from ledger.names import parse_name
from ledger.usage import COUNT_FIELDS, MAX_TOKENS, PARTS, WHOLES, Estimate, UnknownOutput, Usage

UNKNOWN_OUTPUT_FIELDS: Final = ("max_output_tokens", "estimate")
"""What a usage may give instead of output tokens, where the call has not been made."""
REQUIRED_TOKENS: Final = ("input_tokens", "output_tokens")
USAGE_FIELDS: Final = frozenset({"provider", "model", *COUNT_FIELDS})
NOT_COUNTED: Final = frozenset({"provider", "model", *UNKNOWN_OUTPUT_FIELDS})
ESTIMATED_USAGE_FIELDS: Final = USAGE_FIELDS | frozenset(UNKNOWN_OUTPUT_FIELDS)

_ESTIMATES: Final = {str(estimate): estimate for estimate in Estimate}


def decode_usage(value: object, *, may_estimate: bool = False) -> Usage:
    """Return the usage of a decoded object; raises `InvalidInput` naming the first wrong field.

    With `may_estimate` the output tokens may be left out, or replaced by `max_output_tokens` and `estimate`.
    """
    if not isinstance(value, dict):
        raise InvalidInput("usage must be an object", field="usage")
    known = ESTIMATED_USAGE_FIELDS if may_estimate else USAGE_FIELDS
    if not known.issuperset(value):
        unknown = min(str(name) for name in value if name not in known)
        raise InvalidInput(f"usage.{unknown} is not a field of usage", field=f"usage.{unknown}")
    counts = {
        name: _count(count, name) for name, count in value.items() if count is not None and name not in NOT_COUNTED
    }
    unknown_output = _unknown_output(value) if may_estimate else None
    if "input_tokens" not in counts:
        raise _wrong_count("input_tokens")
    if unknown_output is None and "output_tokens" not in counts:
        raise _wrong_count("output_tokens")
    if not PARTS.keys().isdisjoint(counts):
        _raise_wholes(counts)
    provider = value.get("provider")
    return Usage(
        model=parse_name(value.get("model"), field="usage.model"),
        provider=None if provider is None else parse_name(provider, field="usage.provider"),
        unknown_output=unknown_output,
        **counts,
    )


def _unknown_output(value: dict[str, Any]) -> UnknownOutput | None:
    most, estimate = value.get("max_output_tokens"), value.get("estimate")
    if value.get("output_tokens") is not None:
        for name in UNKNOWN_OUTPUT_FIELDS:
            if value.get(name) is not None:
                raise InvalidInput(f"usage.{name} is given beside output_tokens; keep one", field=f"usage.{name}")
        return None
    if estimate is not None and (not isinstance(estimate, str) or estimate not in _ESTIMATES):
        raise InvalidInput(f"usage.estimate must be one of {', '.join(_ESTIMATES)}", field="usage.estimate")
    return UnknownOutput(
        max_output_tokens=None if most is None else _count(most, "max_output_tokens"),
        estimate=None if estimate is None else _ESTIMATES[estimate],
    )


def _count(value: object, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_TOKENS:
        raise _wrong_count(name)
    return value


def _wrong_count(name: str) -> InvalidInput:
    return InvalidInput(f"usage.{name} must be a whole number from 0 to {MAX_TOKENS}", field=f"usage.{name}")


def _raise_wholes(counts: dict[str, int]) -> None:
    """Make a whole at least the sum of its parts: some providers tell reasoning beside the output, not in it."""
    for whole in WHOLES:
        parts = sum(counts.get(part, 0) for part, of in PARTS.items() if of == whole)
        if parts > counts.get(whole, 0):
            counts[whole] = parts
