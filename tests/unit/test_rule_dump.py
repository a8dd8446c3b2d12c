"""A rule set that is written down reads back the same."""

import json

from hypothesis import given
from hypothesis import strategies as st

from ledger.rule_parsing import dump_rule_set, parse_rule_set
from ledger.rules import (
    RuleKind,
    RuleSet,
    rule_id,
)
from ledger.windows import WindowType
from tests.support.rule_strategies import amounts, calendar_fields, names, rules

TEMPLATE = {"kind": "tier_template", "key": "free", "limit_usd": 5}


documents = st.fixed_dictionaries(
    {
        "rules": st.lists(
            rules, max_size=5, unique_by=lambda rule: (rule["kind"], rule["key"], rule.get("window", "month"))
        )
    },
    optional={
        "revision": st.integers(1, 2**53 - 1),
        "workspace": calendar_fields,
        "prices": st.lists(
            st.fixed_dictionaries(
                {"model": names, "input_usd_per_million": amounts, "output_usd_per_million": amounts},
                optional={"provider": names},
            ),
            max_size=3,
            unique_by=lambda price: (price.get("provider", "").lower(), price["model"].lower()),
        ),
    },
)


@given(documents)
def test_dumped_rule_set_reads_back_the_same(document: dict[str, object]) -> None:
    """A rule set survives the way through JSON in every field."""
    rule_set = parse_rule_set(document, revision=1)

    assert rule_set == parse_rule_set(json.loads(json.dumps(dump_rule_set(rule_set))), revision=99)


def test_dump_leaves_out_what_follows_from_elsewhere() -> None:
    """A default policy and the workspace's calendar are not pinned, so that they follow later edits."""
    document = dump_rule_set(parse_rule_set({"rules": [TEMPLATE]}, revision=3))

    expected = {
        "id": rule_id(RuleKind.TIER_TEMPLATE, "free", WindowType.MONTH),
        "kind": "tier_template",
        "key": "free",
        "limit_usd": "5.00",
        "window": "month",
        "action": "warn",
        "alert_thresholds_pct": [80],
        "status": "active",
    }
    assert [expected] == document["rules"]


def test_rule_set_is_indexed_by_key() -> None:
    """The rules of a tier and of a user are found by one look-up, in the document's order."""
    rules = [{**TEMPLATE, "window": window} for window in ("day", "month")] + [
        {**TEMPLATE, "kind": "user_override", "key": "u"}
    ]
    rule_set: RuleSet = parse_rule_set({"rules": rules}, revision=1)

    assert rule_set.rules[:2] == rule_set.templates["free"]
    assert rule_set.rules[2:] == rule_set.overrides["u"]
