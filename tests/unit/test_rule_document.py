"""A rule document as a whole: unknown fields, all faults at once, duplicates, revisions, prices."""

import pytest

from ledger import sections
from ledger.errors import RuleSetInvalid
from ledger.prices import Priced
from ledger.rule_parsing import document_revision, parse_rule_set
from ledger.rules import (
    Rule,
)
from ledger.usage import Usage

TEMPLATE = {"kind": "tier_template", "key": "free", "limit_usd": 5}


def parse_rule(**fields: object) -> Rule:
    """Return the one rule of a document."""
    return parse_rule_set({"rules": [{**TEMPLATE, **fields}]}, revision=1).rules[0]


def faults_of(document: object) -> list[tuple[str, str]]:
    """Return the faults a document is refused for."""
    with pytest.raises(RuleSetInvalid) as caught:
        parse_rule_set(document, revision=1)
    return caught.value.faults


def rule_faults(**fields: object) -> list[tuple[str, str]]:
    """Return the faults a rule is refused for; None as value leaves the field's default null."""
    return faults_of({"rules": [{**TEMPLATE, **fields}]})


def paths_of(faults: list[tuple[str, str]]) -> list[str]:
    """Return where the faults are."""
    return [path for path, _ in faults]


def test_unknown_field_is_refused_with_a_hint() -> None:
    """A typo is named with what was probably meant."""
    assert [("rules[0].limit", "unknown field; did you mean 'limit_usd'?")] == rule_faults(limit=5)


def test_unknown_field_without_likeness_has_no_hint() -> None:
    """No guess is better than a wild one."""
    assert [("rules[0].zzz", "unknown field")] == rule_faults(zzz=5)


@pytest.mark.parametrize(
    ("document", "path"),
    [
        ({"rules": [], "rulez": []}, "rulez"),
        ({"rules": [], True: 1}, "True"),
        ({"rules": [], "workspace": {"tz": "UTC"}}, "workspace.tz"),
        ({"rules": [], "workspace": {"timezone": "Mars/Base"}}, "workspace.timezone"),
        ({"rules": [], "workspace": {"mode": "off"}}, "workspace.mode"),
        ({"rules": [], "workspace": []}, "workspace"),
        ({"rules": {}}, "rules"),
        ({"rules": None}, "rules"),
        ({}, "rules"),
        ({"rules": ["free"]}, "rules[0]"),
        ({"rules": [], "revision": 0}, "revision"),
        ({"rules": [], "revision": True}, "revision"),
        ({"rules": [], "revision": "7"}, "revision"),
        ({"rules": [], "revision": 2**53}, "revision"),
        ({"rules": [], "prices": "m"}, "prices"),
        ({"rules": [], "prices": {}}, "prices.version"),
        ({"rules": [], "prices": [1]}, "prices[0]"),
    ],
)
def test_fault_of_the_document_has_its_path(document: object, path: str) -> None:
    """Faults outside of rules are found too."""
    assert path in paths_of(faults_of(document))


@pytest.mark.parametrize("document", [None, [], "rules", 7])
def test_document_is_a_mapping(document: object) -> None:
    """An empty or half-written file removes no rules."""
    assert ["document", "rules"] == paths_of(faults_of(document))


def test_all_faults_are_listed_at_once() -> None:
    """One look at the list is enough to mend the file."""
    document = {
        "workspace": {"timezone": "Mars/Base", "plan": "gold"},
        "rules": [TEMPLATE, {"kind": "tier_template", "key": "", "limit_usd": -1, "windw": "day"}, 5],
        "prices": [{"model": "m", "input_usd_per_million": -1}],
    }

    expected = [
        "workspace.timezone",
        "workspace.plan",
        "rules[1].windw",
        "rules[1].key",
        "rules[1].limit_usd",
        "rules[2]",
        "rules[2].kind",
        "rules[2].key",
        "rules[2].limit_usd",
        "prices[0].input_usd_per_million",
        "prices[0].output_usd_per_million",
    ]
    assert expected == paths_of(faults_of(document))


def test_listing_of_faults_is_bounded() -> None:
    """A million wrong rules are refused after a thousand faults."""
    faults = faults_of({"rules": [None] * 1_000_000})

    assert sections.MAX_FAULTS + 1 == len(faults)
    assert "document" == faults[-1][0]


def test_more_than_a_million_rules_are_refused() -> None:
    """The number of rules is bounded, and none of them is read then."""
    assert [("rules", "has more than 1000000 rules")] == faults_of({"rules": [None] * 1_000_001})


def test_second_rule_for_the_same_is_refused() -> None:
    """One rule for each kind, key and window, however the window is spelled."""
    document = {"rules": [{**TEMPLATE, "window": "day"}, TEMPLATE, {**TEMPLATE, "window": "daily"}]}

    assert [("rules[2]", "has the kind, key and window of rules[0]; one rule for each")] == faults_of(document)


def test_same_key_may_be_tier_and_user() -> None:
    """Kind, key and window together must be unique, not each alone."""
    rules = [
        TEMPLATE,
        {**TEMPLATE, "window": "day"},
        {**TEMPLATE, "kind": "user_override"},
        {**TEMPLATE, "key": "Free"},
    ]

    assert 4 == len(parse_rule_set({"rules": rules}, revision=1).rules)


def test_id_given_twice_is_refused() -> None:
    """Ids name rules in events, so that no two rules share one."""
    rules = [{**TEMPLATE, "id": "a"}, {**TEMPLATE, "key": "pro", "id": "a"}]

    assert [("rules[1].id", "is the id of rules[0]")] == faults_of({"rules": rules})


def test_own_id_is_kept() -> None:
    """A rule may bring its id."""
    assert "Own_id-1" == parse_rule(id="Own_id-1").id


def test_fault_message_is_short() -> None:
    """A huge value is not repeated in full, nor is a huge number spelled."""
    assert all(len(message) < 200 for _, message in rule_faults(action="x" * 10_000, revision=2**20_000))
    assert "huge" in faults_of({"rules": [], "revision": 2**20_000})[0][1]


def test_stated_revision_wins() -> None:
    """A document that knows its revision keeps it."""
    assert 41 == parse_rule_set({"revision": 41, "rules": []}, revision=7).revision
    assert 7 == parse_rule_set({"rules": []}, revision=7).revision


@pytest.mark.parametrize(
    ("document", "revision"), [({"revision": 41}, 41), ({"revision": None}, None), ({}, None), ([], None)]
)
def test_document_revision_is_told(document: object, revision: int | None) -> None:
    """The revision can be read without the rules."""
    assert revision == document_revision(document)


def test_faulty_document_revision_is_refused() -> None:
    """A revision is a positive whole number."""
    with pytest.raises(RuleSetInvalid, match="revision: must be a whole number"):
        document_revision({"revision": -1})


def test_prices_are_read() -> None:
    """A rule set's prices are a list or a book; tests/unit/test_price_parsing.py has their fields."""
    price = {"provider": "p", "model": "m", "input_usd_per_million": "3", "output_usd_per_million": 15}
    usage = Usage(provider="p", model="m", input_tokens=1_000_000)

    for prices in ([price], {"version": "v", "models": [price]}):
        book = parse_rule_set({"rules": [], "prices": prices}, revision=1).prices
        assert Priced(3_000_000_000, book.version) == book.price(usage, 0)


def test_second_price_for_a_model_is_refused() -> None:
    """One price for each provider and model."""
    price = {"model": "m", "input_usd_per_million": 1, "output_usd_per_million": 2}

    assert ["prices[1]"] == paths_of(faults_of({"rules": [], "prices": [price, price]}))
