"""Rule sets and documents of them, for tests to which only their number and keys matter."""

from typing import Any, Final

from ledger.rule_parsing import parse_rule_set
from ledger.rules import RuleSet

RULE: Final[dict[str, Any]] = {"kind": "tier_template", "key": "free", "limit_usd": 5}


def rule_set_of(revision: int, *keys: str) -> RuleSet:
    """Return a rule set with a template for each key."""
    return parse_rule_set({"rules": [{**RULE, "key": key} for key in keys]}, revision=revision)


def large_document(count: int) -> dict[str, object]:
    """Return a document with so many overrides."""
    return {
        "revision": 1,
        "rules": [{"kind": "user_override", "key": f"user-{i}", "limit_usd": 5} for i in range(count)],
    }
