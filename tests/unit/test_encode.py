"""Decisions and settlements to the fields of the wire."""

from typing import Any

import msgpack
import orjson
import pytest

from ledger.decisions import (
    Budget,
    BudgetTerms,
    Decision,
    HoldState,
    Operation,
    Outcome,
    Reason,
    Settlement,
    Warning,  # noqa: A004 - the contract's word
    WarningKind,
)
from ledger.money import CAP_NANOS, NANOS_PER_USD
from ledger.rules import ALLOW, DENY, Action, Policy, PolicyKind, RuleKind
from ledger.windows import Window, WindowType
from ledger.wire import percent
from sidecar.api.encode import encode_answer, encode_budget

MONTH = Window(type=WindowType.MONTH, start_s=1_767_225_600, end_s=1_769_904_000)
AT_MS = 1_769_860_800_123


def _terms(rule_id: str = "rule-1", limit_usd: int | None = 10) -> BudgetTerms:
    limit_nanos = None if limit_usd is None else limit_usd * NANOS_PER_USD
    return BudgetTerms(rule_id, RuleKind.TIER_TEMPLATE, Action.BLOCK, limit_nanos, MONTH)


def _budget(terms: BudgetTerms, spend_nanos: int = 0, held_nanos: int = 0, warning: Warning | None = None) -> Budget:
    return Budget(terms, Outcome.ALLOW, spend_nanos, held_nanos, warning, seeded=False)


def _decision(**changes: Any) -> Decision:
    fields: dict[str, Any] = {
        "operation": Operation.RESERVE,
        "request_id": "r-1",
        "user_id": "alice",
        "tier": None,
        "outcome": Outcome.ALLOW,
        "reason": Reason.UNDER_LIMIT,
        "budgets": (_budget(_terms()),),
        "decider": 0,
        "rules_revision": 3,
        "at_ms": AT_MS,
        "ttl_ms": 60_000,
        "hold_state": HoldState.OPEN,
    }
    return Decision(**(fields | changes))


def _settlement(**changes: Any) -> Settlement:
    fields: dict[str, Any] = {
        "operation": Operation.SETTLE,
        "request_id": "r-1",
        "user_id": "alice",
        "tier": None,
        "outcome": Outcome.ALLOW,
        "reason": Reason.UNDER_LIMIT,
        "budgets": (),
        "decider": None,
        "rules_revision": 3,
        "at_ms": AT_MS,
        "state_before": HoldState.OPEN,
        "charged_nanos": 1,
        "estimate_nanos": 2,
    }
    return Settlement(**(fields | changes))


@pytest.mark.parametrize(
    ("spend_nanos", "limit_nanos", "expected"),
    [
        (0, None, None),
        (5, None, None),
        (0, 0, 100.0),
        (7, 0, 100.0),
        (0, 10, 0.0),
        (5, 10, 50.0),
        (1, 3, 33.33),
        (99_999, 100_000, 99.99),
        (25, 10, 250.0),
    ],
)
def test_percent_is_spend_over_limit(spend_nanos: int, limit_nanos: int | None, expected: float | None) -> None:
    """Rounded down, so that 100 is shown only where the limit is reached; none where there is no limit."""
    assert expected == percent(spend_nanos, limit_nanos)


def test_an_unlimited_budget_shows_no_limit() -> None:
    """Unlimited is null, not a large number."""
    fields = encode_budget(_budget(_terms(limit_usd=None), spend_nanos=NANOS_PER_USD))
    assert (None, None, None, 1.0) == (
        fields["limit_usd"],
        fields["remaining_usd"],
        fields["percent"],
        fields["spend_usd"],
    )


def test_remaining_is_less_by_what_is_held_and_may_be_negative() -> None:
    """Past the limit the overspend can be read off."""
    fields = encode_budget(_budget(_terms(), spend_nanos=9 * NANOS_PER_USD, held_nanos=2 * NANOS_PER_USD))
    assert -1.0 == fields["remaining_usd"]


@pytest.mark.parametrize("nanos", [1, 100_000_000, 123_456_789, CAP_NANOS - 1, CAP_NANOS])
def test_amounts_read_back_to_the_nano_in_both_formats(nanos: int) -> None:
    """What goes out as a number is the same number when it is read."""
    value = encode_budget(_budget(_terms(), spend_nanos=nanos))
    from_json, from_msgpack = orjson.loads(orjson.dumps(value)), msgpack.unpackb(msgpack.packb(value))
    assert nanos == round(from_json["spend_usd"] * NANOS_PER_USD) == round(from_msgpack["spend_usd"] * NANOS_PER_USD)


def test_an_amount_beyond_the_cap_is_a_decimal_string() -> None:
    """Where a number would lose digits, text does not."""
    assert "8000000.000000001" == encode_budget(_budget(_terms(), spend_nanos=CAP_NANOS + 1))["spend_usd"]


def test_the_top_describes_the_rule_that_decided() -> None:
    """Not the first one, the one that `decider` points at."""
    answer = encode_answer(_decision(budgets=(_budget(_terms("a")), _budget(_terms("b"))), decider=1))
    assert ("b", ["a", "b"]) == (answer["rule_id"], [budget["rule_id"] for budget in answer["budgets"]])


def test_two_answers_do_not_share_their_fields() -> None:
    """Terms are remembered between answers; changing one answer must not change the next."""
    encode_answer(_decision())["budgets"][0]["rule_id"] = "changed"
    assert "rule-1" == encode_answer(_decision())["budgets"][0]["rule_id"]


def test_a_warning_is_told_at_the_top_and_in_its_budget() -> None:
    """Kind, threshold, and whether it is the first."""
    warning = Warning(WarningKind.THRESHOLD, 80, first=True)
    answer = encode_answer(_decision(budgets=(_budget(_terms(), warning=warning),)))
    expected = {"kind": "threshold", "threshold_pct": 80, "first": True}
    assert (expected, expected) == (answer["warning"], answer["budgets"][0]["warning"])


@pytest.mark.parametrize(
    ("outcome", "allowed", "would_block"),
    [
        (Outcome.ALLOW, True, False),
        (Outcome.WARN, True, False),
        (Outcome.DRY_RUN, True, True),
        (Outcome.BLOCK, False, False),
    ],
)
def test_only_a_block_does_not_proceed(outcome: Outcome, allowed: bool, would_block: bool) -> None:
    """A dry run proceeds and says what it would have done."""
    answer = encode_answer(_decision(outcome=outcome))
    assert (outcome, allowed, would_block) == (answer["decision"], answer["allowed"], answer["would_block"])


def test_a_reserve_keeps_its_milliseconds() -> None:
    """A settle that repeats `reserved_at` must mean the same moment."""
    answer = encode_answer(_decision())
    assert ("2026-01-31T12:00:00.123Z", "2026-01-31T12:01:00.123Z") == (answer["reserved_at"], answer["expires_at"])


@pytest.mark.parametrize("changes", [{"operation": Operation.CHECK}, {"outcome": Outcome.BLOCK}])
def test_without_a_hold_there_is_no_deadline(changes: dict[str, Any]) -> None:
    """A check has none, and neither has a reserve that was blocked."""
    assert not {"reserved_at", "expires_at", "hold_state"} & encode_answer(_decision(**changes)).keys()


@pytest.mark.parametrize(("hint_ms", "expected"), [(None, False), (0, True), (1500, True)])
def test_a_hint_to_retry_is_told_if_there_is_one(hint_ms: int | None, expected: bool) -> None:
    """A hint of zero milliseconds is a hint."""
    assert expected is ("retry_after_ms" in encode_answer(_decision(retry_after_ms=hint_ms)))


@pytest.mark.parametrize(
    ("state", "charged", "overrun", "late", "reconstructed"),
    [
        (HoldState.OPEN, 2, False, False, False),
        (HoldState.OPEN, 3, True, False, False),
        (HoldState.EXPIRED, 1, False, True, False),
        (HoldState.RELEASED, 3, True, True, False),
        (HoldState.UNKNOWN, 3, False, False, True),
    ],
)
def test_a_settlement_tells_what_it_found(
    state: HoldState, charged: int, overrun: bool, late: bool, reconstructed: bool
) -> None:
    """An overrun needs an estimate, so a reconstructed charge is none."""
    answer = encode_answer(_settlement(state_before=state, charged_nanos=charged))
    assert (overrun, late, reconstructed) == (answer["overrun"], answer["late"], answer["reconstructed"])


@pytest.mark.parametrize(
    ("operation", "expected"),
    [(Operation.SETTLE, "settled"), (Operation.RELEASE, "released"), (Operation.EXTEND, "open")],
)
def test_a_settlement_tells_what_became_of_the_hold(operation: Operation, expected: str) -> None:
    """Each operation leaves its own state."""
    assert expected == encode_answer(_settlement(operation=operation))["hold_state"]


@pytest.mark.parametrize("answer", [_decision(), _settlement(), _decision(budgets=(), decider=None)])
def test_json_and_messagepack_carry_the_same(answer: Decision | Settlement) -> None:
    """Enums, nulls and amounts come out alike."""
    fields = encode_answer(answer)
    assert orjson.loads(orjson.dumps(fields)) == msgpack.unpackb(msgpack.packb(fields))


@pytest.mark.parametrize(
    ("policy", "expected"),
    [(DENY, "deny"), (ALLOW, "allow"), (Policy(PolicyKind.AMOUNT, 2_500_000_001), {"allow_up_to_usd": 2.500000001})],
)
@pytest.mark.parametrize("degraded", [False, True])
def test_a_decision_tells_what_holds_without_the_store(policy: Policy, expected: object, degraded: bool) -> None:
    """In the words of a rule file, so that a client follows it when nobody answers; the same in both formats."""
    value = encode_answer(_decision(on_store_failure=policy, degraded=degraded))
    from_json, from_msgpack = orjson.loads(orjson.dumps(value)), msgpack.unpackb(msgpack.packb(value))
    assert expected == from_json["on_store_failure"] == from_msgpack["on_store_failure"]
