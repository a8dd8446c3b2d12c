"""Rules that are read by their likeness to others, held against each rule read alone."""

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import RuleSetInvalid
from ledger.rule_parsing import parse_rule_set
from ledger.rules import Rule

MISSING = object()

VALUES: dict[str, list[Any]] = {
    "kind": ["user_override", "tier_template", "user", None, 1, MISSING],
    "key": ["ann", 'qu"o\\te', "ü", "*", "", "a\x00", "\ud800", "x" * 257, 7, None, ["ann"], MISSING],
    "limit_usd": [1, 1.0, True, "1", "1.00", 0.1, "0.1", 0, 0.0, -0.0, -1, 1e300, "many", None, [1], {}, MISSING],
    "window": ["day", "daily", "month", "year", True, None, MISSING],
    "action": ["block", "warn", "stop", None, MISSING],
    "id": ["rule-1", "rule 1", 1, None, MISSING],
    "alert_thresholds_pct": [
        [80],
        [80.0],
        [True],
        [1],
        [90, 50],
        [50, 90],
        [5, 5],
        [],
        "80",
        80,
        [[80]],
        None,
        MISSING,
    ],
    "alert_threshold_pct": [80, 80.0, True, None, MISSING, MISSING],
    "status": ["active", "disabled", "on", MISSING],
    "timezone": ["UTC", "Europe/Berlin", "Europe/Nowhere", None, MISSING, MISSING],
    "on_store_failure": ["deny", "allow", {"allow_up_to_usd": 1}, MISSING, MISSING],
    "wait_for_replica": [True, False, 1, 0, MISSING, MISSING],
    "note": ["why", "", 1, MISSING, MISSING],
    "colour": ["red", MISSING, MISSING, MISSING, MISSING],
}
"""Of each field what it may be, what it must not be, and what only looks the same as another value."""

PLAIN: dict[str, Any] = {"kind": "user_override", "key": "ann", "limit_usd": 1, "window": "day"}
any_row = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in VALUES.items()})


def without_missing(row: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that a row has."""
    return {name: value for name, value in row.items() if value is not MISSING}


@st.composite
def rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Return rows of which many differ from another one in a single field."""
    first = draw(st.one_of(st.just(PLAIN), any_row))
    listed = [dict(first)]
    for number in range(draw(st.integers(1, 8))):
        row = {**draw(st.sampled_from(listed)), "key": f"user-{number}"}
        for name in draw(st.lists(st.sampled_from(sorted(VALUES)), max_size=2)):
            row[name] = draw(st.sampled_from(VALUES[name]))
        listed.append(row)
    return [without_missing(row) for row in listed]


def read(listed: list[dict[str, Any]]) -> list[Rule] | list[tuple[str, str]]:
    """Return the rules of a document with these rows, else its faults."""
    try:
        return list(parse_rule_set({"rules": listed}, revision=1).rules)
    except RuleSetInvalid as invalid:
        return invalid.faults


def require_same(listed: list[dict[str, Any]]) -> None:
    """Require of the last row after others what it is alone: the same rule, or the same faults under its own path."""
    alone, together = read(listed[-1:]), read(listed)
    path = f"rules[{len(listed) - 1}]"
    faults = [fault for fault in together if isinstance(fault, tuple)]
    of_last = [(where, what) for where, what in faults if where.startswith(path) and " of rules[" not in what]

    if isinstance(alone[0], Rule):
        assert [] == of_last
        assert faults or [rule for rule in together if rule == alone[0]] == alone
    else:
        assert alone == [(where.replace(path, "rules[0]"), what) for where, what in of_last]


@settings(max_examples=500)
@given(rows())
def test_a_rule_means_the_same_whatever_stands_before_it(listed: list[dict[str, Any]]) -> None:
    """Rows behind any others."""
    require_same(listed)


@pytest.mark.parametrize("name", sorted(VALUES.keys() - {"key"}))
def test_a_rule_means_the_same_behind_any_other_value_of_a_field(name: str) -> None:
    """Every value behind every other one; catches an empty list that was read as a field that is not there."""
    for first, second in itertools.product(VALUES[name], repeat=2):
        require_same([without_missing({**PLAIN, name: first}), without_missing({**PLAIN, "key": "bob", name: second})])
