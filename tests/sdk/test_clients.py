"""The common path of both clients against a real sidecar and store: check, reserve, settle, release, usage."""

import asyncio
from collections.abc import Iterator
from decimal import Decimal

import pytest
from spendgate import AsyncSpendgate, LLMBudgetExceededError, Spendgate, SpendgateRequestError

from sidecar.listeners import Listeners
from tests.support.sdk_gates import TIMEOUT_S

pytestmark = pytest.mark.usefixtures("each_transport")


@pytest.fixture(params=["tcp", "unix"])
def gate(request: pytest.FixtureRequest, listeners: Listeners, socket_url: str) -> Iterator[Spendgate]:
    """A blocking client, over each kind of socket."""
    url = listeners.decision_url if request.param == "tcp" else socket_url
    with Spendgate(url, timeout_s=TIMEOUT_S, tier="free") as client:
        yield client


def test_a_check_charges(gate: Spendgate, user: str) -> None:
    """A check answers with the budget after it, in exact decimals."""
    decision = gate.check(user, cost_usd="0.123456789")

    assert (True, "allow", Decimal("0.123456789")) == (decision.allowed, decision.decision, decision.spend_usd)


def test_a_block_raises_and_charges_nothing(gate: Spendgate, user: str) -> None:
    """What is over the limit is an exception that tells which budget is in the way."""
    gate.check(user, cost_usd="0.75")

    with pytest.raises(LLMBudgetExceededError) as caught:
        gate.check(user, cost_usd="0.26")

    error = caught.value
    assert (user, "free", Decimal(1), Decimal("0.75"), "month", "block", "limit") == (
        *(error.user_id, error.tier, error.limit_usd, error.spend_usd),
        *(error.window_type, error.action, error.reason),
    )


def test_a_hold_is_replaced_by_the_cost(gate: Spendgate, user: str) -> None:
    """What was held is free again once the cost is known."""
    with gate.hold(user, estimate_usd="0.9") as hold:
        settlement = hold.settle(cost_usd=0.1 + 0.2)

    assert settlement is not None
    assert (Decimal("0.3"), Decimal("0.9")) == (settlement.cost_usd, settlement.estimate_usd)
    assert (Decimal("0.3"), Decimal(0)) == _spend_and_held(gate, user)


def test_a_released_hold_costs_nothing(gate: Spendgate, user: str) -> None:
    """A call that never happened is given back."""
    gate.reserve(user, estimate_usd="0.9").release()

    assert (Decimal(0), Decimal(0)) == _spend_and_held(gate, user)


def test_a_hold_is_settled_by_its_ids(gate: Spendgate, user: str) -> None:
    """Another process than the one that reserved settles by user and request id."""
    hold = gate.reserve(user, estimate_usd="0.9", request_id="call-1")
    gate.settle(user, "call-1", cost_usd="0.5", reserved_at=hold.decision.reserved_at)

    assert (Decimal("0.5"), Decimal(0)) == _spend_and_held(gate, user)


def test_a_second_settle_with_another_cost_is_refused(gate: Spendgate, user: str) -> None:
    """The first settle is final, and a second one with another amount is told so."""
    hold = gate.reserve(user, estimate_usd="0.9")
    hold.settle(cost_usd="0.5")

    with pytest.raises(SpendgateRequestError) as caught:
        hold.settle(cost_usd="0.6")

    assert (409, "already_settled") == (caught.value.status, caught.value.code)


async def test_the_awaiting_client_does_the_same(url: str, user: str) -> None:
    """Check, hold, settle, release and usage, awaited."""
    async with AsyncSpendgate(url, timeout_s=TIMEOUT_S, tier="free") as gate:
        await gate.check(user, cost_usd="0.1")
        async with gate.hold(user, estimate_usd="0.5") as hold:
            await hold.settle(cost_usd="0.2")
        await (await gate.reserve(user, estimate_usd="0.7")).release()
        with pytest.raises(LLMBudgetExceededError):
            await gate.check(user, cost_usd="0.71")
        usage = await gate.usage(user)

    assert (Decimal("0.3"), Decimal(0), 0) == (usage.budgets[0].spend_usd, usage.budgets[0].held_usd, usage.open_holds)


async def test_concurrent_reserves_never_pass_the_limit(url: str, user: str) -> None:
    """200 reserves at once of a cent each on a limit of a dollar: exactly 100 are admitted."""
    async with AsyncSpendgate(url, timeout_s=TIMEOUT_S, tier="free") as gate:
        answers = await asyncio.gather(
            *(gate.reserve(user, estimate_usd="0.01") for _ in range(200)), return_exceptions=True
        )
        refused = [answer for answer in answers if isinstance(answer, LLMBudgetExceededError)]
        held = [answer for answer in answers if not isinstance(answer, BaseException)]
        await asyncio.gather(*(hold.release() for hold in held))

    assert (100, 100) == (len(refused), len(held))


def _spend_and_held(gate: Spendgate, user: str) -> tuple[Decimal, Decimal]:
    budget = gate.usage(user).budgets[0]
    return budget.spend_usd, budget.held_usd
