"""What waits for its sidecar waits through refusals that are not about it."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from spendgate import Settlement, SpendgateRequestError, _calls
from spendgate._calls import Call
from spendgate._delivery import Delivery
from spendgate._journal import Journal


@pytest.mark.parametrize(("status", "waits"), [(401, True), (403, True), (408, True), (429, True), (400, False)])
def test_a_refusal_that_passes_loses_no_cost(tmp_path: Path, status: int, *, waits: bool) -> None:
    """A token that was changed or too many calls say nothing of a settle, so it stays; one that is wrong does not."""

    def refuse(call: Call) -> Settlement:
        raise SpendgateRequestError(f"{call} is refused", status=status, code="refused")

    journal = Journal(tmp_path)
    delivery = Delivery(refuse, journal)

    delivery.deliver(_calls.settle("user-1", "call-1", "0.5", None, reserved_at=datetime(2026, 11, 25, tzinfo=UTC)))

    assert waits == bool(journal.waiting())
    delivery.close()
