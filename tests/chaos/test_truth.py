"""The comparison itself: each way to be wrong is seen."""

from types import SimpleNamespace
from typing import Any, Final

import pytest

from ledger.windows import Window, WindowType
from tests.chaos.truth import CHECK, RESERVE, Deal, Truth
from tests.support.apps import Answer

EXACT: Final = {"request_id": "deal-0", "user_id": "ada", "degraded": False, "allowed": True}


def _truth(**changes: Any) -> Truth:
    fields: dict[str, Any] = {"operation": CHECK, "is_done": True, "acknowledged_nanos": 5} | changes
    deal = Deal(request_id="deal-0", user_id="ada", estimate_nanos=5, actual_nanos=3, **fields)
    return Truth(deals={"deal-0": deal})


def _books(spend: int, *, charged: int | None = None, differences: tuple[str, ...] = ()) -> Any:
    month = Window(type=WindowType.MONTH, start_s=0, end_s=1)
    records = [] if charged is None else [SimpleNamespace(request_id="deal-0", charged_nanos=charged)]
    return SimpleNamespace(
        snapshot=SimpleNamespace(records=records, counters={(month, "ada"): SimpleNamespace(spend_nanos=spend)}),
        report=SimpleNamespace(differences=differences),
    )


def test_a_ledger_that_agrees_is_right() -> None:
    """What was acknowledged is there, and nothing else."""
    comparison = _truth().compare(_books(5, charged=5))

    assert (0, {}, []) == (comparison.lost, comparison.wrong_users, comparison.audit_differences)


def test_a_settled_deal_costs_its_actual() -> None:
    """The estimate is gone once it is settled."""
    comparison = _truth(operation=RESERVE, acknowledged_nanos=3).compare(_books(3, charged=3))

    assert (0, {}) == (comparison.lost, comparison.wrong_users)


@pytest.mark.parametrize("charged", [None, 4])
def test_a_forgotten_deal_is_lost(charged: int | None) -> None:
    """With its record, or with a part of its charge."""
    comparison = _truth().compare(_books(5, charged=charged))

    assert (1, 5) == (comparison.lost, comparison.lost_nanos)


@pytest.mark.parametrize(("spend", "difference"), [(10, 5), (0, 5)])
def test_spend_that_is_not_the_truth_is_a_difference(spend: int, difference: int) -> None:
    """Too much, as a double charge leaves it, and too little."""
    assert difference == _truth().compare(_books(spend, charged=5)).difference_nanos


def test_what_was_not_acknowledged_is_not_lost() -> None:
    """Its caller knows that it has to ask again."""
    comparison = _truth(is_done=False, acknowledged_nanos=0).compare(_books(0))

    assert (0, {}) == (comparison.lost, comparison.wrong_users)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(200, EXACT), "exact"),
        (Answer(200, EXACT | {"degraded": True}), "degraded_allowed"),
        (Answer(200, EXACT | {"degraded": True, "allowed": False}), "degraded_denied"),
        (Answer(503, {"code": "store_unavailable"}), "failed"),
        (None, "failed"),
    ],
)
def test_only_the_ledgers_own_answer_is_exact(answer: Answer | None, kind: str) -> None:
    """A failure policy's word and a problem are none."""
    truth = _truth()

    assert (kind == "exact") is truth.note(truth.deals["deal-0"], answer, 0.0)
    assert {kind: 1} == truth.answers


def test_a_reply_to_someone_else_is_seen() -> None:
    """The ids in an answer must be the caller's."""
    truth = _truth()
    truth.note(truth.deals["deal-0"], Answer(200, EXACT | {"user_id": "bob"}), 0.0)

    assert 1 == truth.misdirected
