"""What a client answers when its sidecar does not: the policy last told, else its own choice, always in the log."""

import socket
from collections.abc import Iterator
from typing import Literal

import pytest
from spendgate import AsyncSpendgate, LLMBudgetExceededError, Spendgate, SpendgateUnavailableError, Usage
from spendgate.testing import FakeSidecar

from tests.support.sdk_gates import TIMEOUT_S, settled_usage, spend_text

pytestmark = pytest.mark.usefixtures("each_transport")


@pytest.fixture
def refused_url() -> Iterator[str]:
    """An address where nothing listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture
def silent_url() -> Iterator[str]:
    """An address that accepts connections and never answers, as a stopped sidecar does."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize("where", ["refused_url", "silent_url"])
def test_closed_denies(where: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> None:
    """By default nothing is spent that was not allowed, and an outage is not called an exceeded budget."""
    gate = Spendgate(request.getfixturevalue(where), timeout_s=0.05)
    with gate, pytest.raises(SpendgateUnavailableError) as caught:
        gate.check("user-1", cost_usd=1, request_id="call-1")

    assert ("user-1", "call-1", False) == (
        *(caught.value.user_id, caught.value.request_id),
        isinstance(caught.value, LLMBudgetExceededError),
    )
    assert "denied without its sidecar" in caplog.text


@pytest.mark.parametrize("where", ["refused_url", "silent_url"])
async def test_open_allows(where: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> None:
    """An app that would rather spend than stop says so, and sees it in the log."""
    async with AsyncSpendgate(request.getfixturevalue(where), timeout_s=0.05, fail="open") as gate:
        decision = await gate.check("user-1", cost_usd=1)

    assert (True, True, "sidecar_unavailable") == (decision.allowed, decision.degraded, decision.reason)
    assert "allowed without its sidecar" in caplog.text


@pytest.mark.parametrize(("fail", "told", "allowed"), [("open", "deny", False), ("closed", "allow", True)])
def test_the_policy_last_told_wins(fail: Literal["open", "closed"], told: str, allowed: bool) -> None:
    """Each rule's own choice is followed for its users; others get the client's."""
    sidecar = FakeSidecar()
    sidecar.on_store_failure = told
    with Spendgate(transport=sidecar, fail=fail) as gate:
        gate.check("known", cost_usd=1)
        sidecar.is_away = True

        assert [allowed, fail == "open"] == [_is_allowed(gate, user) for user in ("known", "unknown")]


def test_an_allowance_is_given_up_to_its_amount() -> None:
    """With `allow_up_to_usd` a process allows that much of a window, and no tokens, which have no price here."""
    sidecar = FakeSidecar()
    sidecar.limit("user-1", 100)
    sidecar.on_store_failure = {"allow_up_to_usd": 0.5}
    with Spendgate(transport=sidecar) as gate:
        gate.check("user-1", cost_usd=1)
        sidecar.is_away = True
        before = [_is_allowed(gate, "user-1", cost) for cost in ("0.3", "0.3", "0.2", "0.01")]
        sidecar.is_away = False
        gate.check("user-1", cost_usd=1)
        sidecar.is_away = True

        assert [True, False, True, False] == before
        assert not _is_allowed(gate, "user-1", "0.01"), "the allowance of the window is used up"
        with pytest.raises(SpendgateUnavailableError):
            gate.check("user-1", usage=Usage("gpt-5", output_tokens=1))


def test_a_call_that_was_let_through_is_charged_once_it_is_known(url: str, user: str, refused_url: str) -> None:
    """A hold of a client without its sidecar is settled later under the moment of its reserve."""
    with Spendgate(refused_url, fail="open", tier="free") as cut_off:
        hold = cut_off.reserve(user, estimate_usd="0.5")
    with Spendgate(url, timeout_s=TIMEOUT_S, tier="free") as gate:
        settlement = gate.settle(user, hold.request_id, cost_usd="0.25", reserved_at=hold.decision.reserved_at)

        assert settlement is not None
        assert (True, "0.25") == (settlement.reconstructed, spend_text(settled_usage(gate, user)))


def test_a_wrong_choice_is_refused() -> None:
    """Neither a typo in `fail` nor a wrong address is noticed only in an outage."""
    for options in ({"fail": "opne"}, {"url": "localhost:8787"}, {"url": "unix://s"}, {"timeout_s": 0}):
        with pytest.raises(ValueError, match=r"fail|address|path|timeout_s"):
            Spendgate(**options)  # type: ignore[arg-type]


def _is_allowed(gate: Spendgate, user: str, cost_usd: str = "0.1") -> bool:
    try:
        return gate.check(user, cost_usd=cost_usd).allowed
    except SpendgateUnavailableError:
        return False
