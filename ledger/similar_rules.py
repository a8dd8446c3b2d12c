"""Rules that say the same as one before them, of another key: read in a fraction of the time.

A rule set of 100,000 overrides says a few things over and over. What differs from row to row (key, limit and id) is
validated in each; the rest is compared with rows that the careful reader has found faultless.
"""

from operator import attrgetter
from typing import Any, Final, NamedTuple

from ledger.errors import InvalidInput
from ledger.money import parse_usd
from ledger.names import is_name
from ledger.rule_fields import parse_id
from ledger.rules import ANY_TIER, SHARED_FIELDS, Rule, RuleKind, rule_id, rule_with
from ledger.windows import WindowType

MAX_MODELS: Final = 1_000
MAX_LIMITS: Final = 10_000

_MISSING: Final = object()
_APART: Final = frozenset({"key", "id", "limit_usd", "alert_thresholds_pct"})
_shared_values: Final = attrgetter(*SHARED_FIELDS)


class _Model(NamedTuple):
    """What rules have in common, with two of its values by name."""

    kind: RuleKind
    window: WindowType
    shared: tuple[object, ...]


class SimilarRules:
    """Remembers what faultless rows of one document say beside key, limit and id."""

    def __init__(self) -> None:
        self._models: dict[object, _Model] = {}
        self._limits: dict[tuple[type, object], Any] = {(type(None), None): None}

    def read(self, fields: dict[object, object]) -> Rule | None:
        """Return the rule of a row that is like one before it; None: new, faulty or unusual, for the careful reader."""
        rest = fields.copy()
        key, given_id = rest.pop("key", None), rest.pop("id", None)
        limit, thresholds = rest.pop("limit_usd", _MISSING), rest.pop("alert_thresholds_pct", None)
        if not is_name(key) or key == ANY_TIER or limit is _MISSING:
            return None
        try:
            model = self._models.get(tuple(rest.items()) if thresholds is None else _likeness(rest, thresholds))
            if model is None:
                return None
            kind, window, shared = model
            found_id = rule_id(kind, key, window) if given_id is None else parse_id(given_id, field="id")
            nanos = self._limits.get((type(limit), limit), _MISSING)
            return rule_with(found_id, key, self._parse_limit(limit) if nanos is _MISSING else nanos, shared)
        except (TypeError, InvalidInput):
            return None

    def learn(self, fields: dict[object, object], rule: Rule) -> None:
        """Remember what a row without a fault says; only text is, as equal values of other types may differ."""
        rest = {name: value for name, value in fields.items() if name not in _APART}
        if len(self._models) < MAX_MODELS and all(type(value) is str for value in rest.values()):
            model = _Model(rule.kind, rule.window, _shared_values(rule))
            self._models.setdefault(_likeness(rest, fields.get("alert_thresholds_pct")), model)
            limit = fields["limit_usd"]
            self._limits.setdefault((type(limit), limit), rule.limit_nanos)

    def _parse_limit(self, value: object) -> int:
        """Return the nano-USD of a limit that is new here. Raises what `parse_usd` does."""
        nanos = parse_usd(value, field="limit_usd")
        if len(self._limits) < MAX_LIMITS:
            self._limits[type(value), value] = nanos
        return nanos


def _likeness(rest: dict[object, object], thresholds: object) -> object:
    """Return what tells rows apart beside key, limit and id. Raises `TypeError` for what no learned row has."""
    if thresholds is None:
        return tuple(rest.items())
    if not isinstance(thresholds, list) or not all(type(threshold) is int for threshold in thresholds):
        raise TypeError("thresholds are a list of whole numbers")
    return tuple(rest.items()), tuple(thresholds)  # An empty list is not the same as none, which means the usual ones.
