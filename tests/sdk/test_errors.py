"""The errors of the SDK: what they tell, and that they travel between processes."""

import json
import pickle
from decimal import Decimal

import pytest
from spendgate import (
    LLMBudgetExceededError,
    Spendgate,
    SpendgateError,
    SpendgateRequestError,
    SpendgateUnavailableError,
)
from spendgate.testing import FakeSidecar


@pytest.fixture
def refusal() -> LLMBudgetExceededError:
    """What a blocked call raises."""
    sidecar = FakeSidecar()
    sidecar.limit("user-1", "0.50")
    with Spendgate(transport=sidecar) as gate, pytest.raises(LLMBudgetExceededError) as caught:
        gate.check("user-1", cost_usd=1, tier="free")
    return caught.value


def test_a_refusal_tells_which_budget_is_in_the_way(refusal: LLMBudgetExceededError) -> None:
    """Whoever catches it can tell a user what is used up, and until when."""
    expected = (
        "BUDGET_EXCEEDED",
        "user-1",
        "free",
        Decimal("0.5"),
        Decimal(0),
        "month",
        "block",
        "rule-user-1",
        "limit",
    )

    assert expected == (
        *(refusal.code, refusal.user_id, refusal.tier, refusal.limit_usd, refusal.spend_usd),
        *(refusal.window_type, refusal.action, refusal.rule_id, refusal.reason),
    )
    assert refusal.window_start is not None
    assert refusal.resets_at is not None
    assert refusal.window_start < refusal.resets_at


def test_a_refusal_survives_pickling(refusal: LLMBudgetExceededError) -> None:
    """A worker process can hand it to its parent whole."""
    copy = pickle.loads(pickle.dumps(refusal))

    assert (str(refusal), refusal.decision) == (str(copy), copy.decision)


def test_a_refusal_is_a_document(refusal: LLMBudgetExceededError) -> None:
    """An app can put it into the body of its own answer."""
    document = json.loads(json.dumps(refusal.as_dict()))

    assert ("BUDGET_EXCEEDED", "0.5", "0", str(refusal)) == (
        *(document["code"], document["limit_usd"], document["spend_usd"], document["message"]),
    )


@pytest.mark.parametrize(
    "error",
    [
        SpendgateUnavailableError("no answer", user_id="user-1", request_id="call-1"),
        SpendgateRequestError("wrong", status=400, code="invalid_field", field="tier"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_other_errors_survive_pickling(error: SpendgateError) -> None:
    """Their fields travel as well."""
    copy = pickle.loads(pickle.dumps(error))

    assert (type(error), str(error), vars(error)) == (type(copy), str(copy), vars(copy))
