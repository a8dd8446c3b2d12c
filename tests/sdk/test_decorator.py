"""`budgeted`: a function whose calls are held before and settled after."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from spendgate import AsyncSpendgate, LLMBudgetExceededError, Spendgate, Usage
from spendgate.testing import FakeSidecar


@pytest.fixture
def sidecar() -> FakeSidecar:
    """A sidecar with one dollar for user-1."""
    sidecar = FakeSidecar(usd_per_million_tokens=1)
    sidecar.limit("user-1", 1)
    return sidecar


@pytest.fixture
def gate(sidecar: FakeSidecar) -> Iterator[Spendgate]:
    """A client of it."""
    with Spendgate(transport=sidecar) as gate:
        yield gate


def test_a_call_is_settled_by_its_result(gate: Spendgate, sidecar: FakeSidecar) -> None:
    """What the result says it did cost is charged to the user of the call; the function stays what it was."""

    @gate.budgeted(estimate_usd="0.5", cost=lambda reply: reply["cost"])
    def ask(question: str, user_id: str = "user-1") -> dict[str, Any]:
        """Ask."""
        return {"text": question.upper(), "cost": "0.25"}

    assert ({"text": "WHY", "cost": "0.25"}, "ask", "Ask.") == (ask("why"), ask.__name__, ask.__doc__)
    assert ("0.25", "0") == (sidecar.spend_usd("user-1"), sidecar.held_usd("user-1"))


def test_terms_may_depend_on_the_call(gate: Spendgate, sidecar: FakeSidecar) -> None:
    """User, tier and usage are computed from the arguments, and a usage may be what it did cost."""

    @gate.budgeted(
        user_id=lambda call: call["user"]["id"],
        tier=lambda call: call["user"]["tier"],
        usage=lambda call: Usage("gpt-5", input_tokens=len(call["prompt"]), max_output_tokens=1000),
        cost=lambda tokens: Usage("gpt-5", output_tokens=tokens),
    )
    def ask(prompt: str, *, user: dict[str, str]) -> int:
        return 500_000

    ask("why", user={"id": "user-1", "tier": "free"})

    reserve = sidecar.operations[0].fields
    assert ("user-1", "free", 3) == (reserve["user_id"], reserve["tier"], reserve["usage"]["input_tokens"])
    assert "0.5" == sidecar.spend_usd("user-1")


def test_a_refused_call_is_not_made(gate: Spendgate) -> None:
    """The function's body does not run."""
    made = []

    @gate.budgeted(estimate_usd=2)
    def ask(user_id: str) -> None:
        made.append(user_id)

    with pytest.raises(LLMBudgetExceededError):
        ask("user-1")
    assert [] == made


def test_a_result_that_does_not_tell_is_charged_the_estimate(gate: Spendgate, sidecar: FakeSidecar) -> None:
    """Never zero."""

    @gate.budgeted(estimate_usd="0.5", cost=lambda _: None)
    def ask(user_id: str) -> None:
        pass

    ask("user-1")

    assert "0.5" == sidecar.spend_usd("user-1")


async def test_coroutine_functions(sidecar: FakeSidecar) -> None:
    """The awaiting client decorates them likewise."""
    async with AsyncSpendgate(transport=sidecar) as gate:

        @gate.budgeted(estimate_usd="0.5", cost=lambda cost: cost)
        async def ask(user_id: str) -> str:
            return "0.125"

        assert "0.125" == await ask("user-1")
    assert "0.125" == sidecar.spend_usd("user-1")


async def test_what_cannot_be_decorated_is_told_at_once(gate: Spendgate, sidecar: FakeSidecar) -> None:
    """A wrong kind of function, or one that does not say whose call it is, fails when it is decorated."""

    async def later(user_id: str) -> None: ...

    def nobody() -> None: ...

    async with AsyncSpendgate(transport=sidecar) as awaiting:
        for decorate, function in ((gate.budgeted(), later), (gate.budgeted(), nobody), (awaiting.budgeted(), nobody)):
            with pytest.raises(TypeError, match=r"budgeted decorates|no parameter"):
                decorate(function)


def test_what_returns_before_it_is_done_is_refused(gate: Spendgate) -> None:
    """An asynchronous generator function would be settled before its first step."""

    async def ask(user_id: str) -> AsyncIterator[int]:
        yield 1

    with pytest.raises(TypeError, match="generator"):
        gate.budgeted(estimate_usd="0.5")(ask)
