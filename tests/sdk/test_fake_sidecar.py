"""`spendgate.testing`: the fake answers as a sidecar does, so that tests of apps mean something."""

from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest
from spendgate import (
    AsyncSpendgate,
    BudgetWarning,
    LLMBudgetExceededError,
    Spendgate,
    SpendgateRequestError,
    SpendgateUnavailableError,
)
from spendgate.testing import FakeSidecar

from tests.support.sdk_gates import TIMEOUT_S, eventually

Told = list[int | None]
Start = Callable[[str], tuple[Spendgate, Told]]


@pytest.fixture(params=["fake", "real"])
def start(request: pytest.FixtureRequest, user: str) -> Iterator[Start]:
    """Clients of the fake and of a real sidecar, for users with a dollar a month and a rule of that tier."""
    clients = []

    def started(tier: str) -> tuple[Spendgate, Told]:
        told: Told = []

        def on_warning(warning: BudgetWarning) -> None:
            told.append(warning.threshold_pct)

        if request.param == "real":
            url = request.getfixturevalue("url")
            gate = Spendgate(url, timeout_s=TIMEOUT_S, tier=tier, on_budget_warning=on_warning)
        else:
            sidecar = FakeSidecar()
            action = {"free": "block", "warned": "warn", "dry": "dry_run"}[tier]
            sidecar.limit(user, 1, action=action, thresholds=(50, 80) if tier == "warned" else ())
            gate = Spendgate(transport=sidecar, tier=tier, on_budget_warning=on_warning)
        clients.append(gate)
        return gate, told

    yield started
    for client in clients:
        client.close()


def test_a_budget_is_used_up(start: Start, user: str) -> None:
    """Checks, holds, settles, releases and refusals add up as in the ledger."""
    gate, _ = start("free")
    gate.check(user, cost_usd="0.25")
    gate.reserve(user, estimate_usd="0.5").settle(cost_usd="0.125")
    gate.reserve(user, estimate_usd="0.5").release()
    hold = gate.reserve(user, estimate_usd="0.625")
    with pytest.raises(LLMBudgetExceededError) as caught:
        gate.check(user, cost_usd="0.000000001")

    assert (Decimal("0.375"), Decimal("0.625"), Decimal(1), "block") == (
        *(caught.value.spend_usd, caught.value.decision.held_usd, caught.value.limit_usd, caught.value.action),
    )
    assert 1 == gate.usage(user).open_holds
    hold.release()


def test_warnings_come_as_from_a_sidecar(start: Start, user: str) -> None:
    """Each threshold once, then the limit."""
    gate, told = start("warned")
    for cost in ("0.4", "0.1", "0.1", "0.2", "0.2", "0.2"):
        gate.check(user, cost_usd=cost)

    assert [50, 80, None] == told


def test_a_dry_run_proceeds(start: Start, user: str) -> None:
    """And says what it would have done."""
    gate, _ = start("dry")

    decision = gate.check(user, cost_usd=2)

    assert ("dry_run", True, True) == (decision.decision, decision.allowed, decision.would_block)


def test_repeated_ids_are_charged_once(start: Start, user: str) -> None:
    """The same id again is a replay; another cost for a settled hold is refused."""
    gate, _ = start("free")
    for _ in range(2):
        gate.check(user, cost_usd="0.25", request_id="call-1")
    hold = gate.reserve(user, estimate_usd="0.25")
    for _ in range(2):
        hold.settle(cost_usd="0.125")
    with pytest.raises(SpendgateRequestError, match="already_settled"):
        hold.settle(cost_usd="0.1")
    with pytest.raises(SpendgateRequestError, match="hold_not_found"):
        gate.settle(user, "unknown", cost_usd="0.1")

    assert Decimal("0.375") == gate.check(user, cost_usd=0).spend_usd


async def test_it_serves_both_kinds_of_clients_and_can_be_away() -> None:
    """While it is away the failure policy decides, and what could not be settled arrives afterwards."""
    sidecar = FakeSidecar()
    async with AsyncSpendgate(transport=sidecar) as gate:
        async with gate.hold("user-1", estimate_usd="0.5") as hold:
            sidecar.is_away = True
            with pytest.raises(SpendgateUnavailableError):
                await gate.check("user-1", cost_usd="0.1")
            assert await hold.settle(cost_usd="0.25") is None
            sidecar.is_away = False
        eventually(lambda: sidecar.spend_usd("user-1") == "0.25")

    assert ["reserve", "check", "settle"] == [operation.name for operation in sidecar.operations][:3]
