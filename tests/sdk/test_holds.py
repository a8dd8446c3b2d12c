"""How a hold ends: by a settle, by leaving its block, by being closed, forgotten or kept alive too long."""

import gc
import logging
from collections.abc import Iterator
from datetime import datetime

import pytest
from spendgate import AsyncSpendgate, Settlement, Spendgate, SpendgateRequestError, Usage
from spendgate._calls import Call
from spendgate._hold_state import BEATS_A_TTL
from spendgate.testing import FakeSidecar

from tests.support.sdk_gates import TIMEOUT_S, eventually, settled_usage, spend_text

pytestmark = pytest.mark.usefixtures("each_transport")


class Stopped(BaseException):
    """Something that no `except Exception` catches, as KeyboardInterrupt and CancelledError are."""


@pytest.fixture
def gate(url: str) -> Iterator[Spendgate]:
    """A client of the real sidecar."""
    with Spendgate(url, timeout_s=TIMEOUT_S, tier="free") as client:
        yield client


def test_success_without_a_settle_charges_what_was_noted(gate: Spendgate, user: str) -> None:
    """The last note is what is known."""
    with gate.hold(user, estimate_usd="0.9") as hold:
        hold.note_cost("0.1")
        hold.note_cost("0.25")

    assert "0.25" == spend_text(settled_usage(gate, user))


def test_success_without_a_note_charges_the_estimate_and_says_so(
    gate: Spendgate, user: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Never zero: the call was made."""
    caplog.set_level(logging.INFO, "spendgate")

    with gate.hold(user, estimate_usd="0.9"):
        pass

    assert "0.9" == spend_text(settled_usage(gate, user))
    assert "settled with its estimate" in caplog.text


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, Stopped])
def test_an_exception_charges_what_was_noted(gate: Spendgate, user: str, kind: type[BaseException]) -> None:
    """Whatever ends the block, what is known is charged, and the exception goes on."""
    with pytest.raises(kind), gate.hold(user, estimate_usd="0.9") as hold:  # noqa: PT012 - what is raised inside counts
        hold.note_cost("0.25")
        raise kind

    assert "0.25" == spend_text(settled_usage(gate, user))


@pytest.mark.parametrize("kind", [ValueError, Stopped])
def test_an_exception_without_a_note_leaves_the_hold_to_its_expiry(
    gate: Spendgate, user: str, kind: type[BaseException]
) -> None:
    """The money may be gone: the sidecar charges the estimate when the hold expires."""
    with pytest.raises(kind), gate.hold(user, estimate_usd="0.9", ttl_s=1):
        raise kind

    assert "0.9" == spend_text(settled_usage(gate, user))


def test_a_settled_hold_is_left_alone(gate: Spendgate, user: str) -> None:
    """Leaving the block and closing it again changes nothing."""
    with gate.hold(user, estimate_usd="0.9") as hold:
        hold.settle(cost_usd="0.125")
        hold.note_cost("0.5")
    hold.close()

    assert ("0.125", False) == (spend_text(settled_usage(gate, user)), hold.is_open)


def test_a_forgotten_hold_is_settled_with_what_was_noted(gate: Spendgate, user: str) -> None:
    """A stream whose reader went away is charged by what was seen of it."""
    hold = gate.reserve(user, estimate_usd="0.9")
    hold.note_cost("0.25")
    del hold
    gc.collect()

    assert "0.25" == spend_text(settled_usage(gate, user))


def test_closing_a_client_closes_its_holds(url: str, user: str) -> None:
    """What is known when an app ends is not lost, though it never came to a settle."""
    with Spendgate(url, timeout_s=TIMEOUT_S, tier="free") as gate:
        hold = gate.reserve(user, estimate_usd="0.9")
        hold.note_cost("0.25")
        other = Spendgate(url, timeout_s=TIMEOUT_S, tier="free")

    assert "0.25" == spend_text(settled_usage(other, user))
    other.close()
    assert not hold.is_open


def test_an_open_hold_is_kept_alive(gate: Spendgate, user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that takes longer than the time to live of its hold does not lose it: its end is put off all the while.

    Six hundred times within that time instead of three, so that nobody has to wait for it to pass.
    """
    for module in ("_hold_state", "_heartbeat"):
        monkeypatch.setattr(f"spendgate.{module}.BEATS_A_TTL", 200 * BEATS_A_TTL)
    heartbeat, ends = gate._engine.courier._heartbeat, list[datetime | None]()
    send = heartbeat._send

    def noted(call: Call) -> Settlement:
        settlement = send(call)
        ends.append(settlement.expires_at)
        return settlement

    monkeypatch.setattr(heartbeat, "_send", noted)
    with gate.hold(user, estimate_usd="0.9", ttl_s=60) as hold:
        ends.append(hold.decision.expires_at)
        eventually(lambda: len(ends) >= 4)
        settlement = hold.settle(cost_usd="0.5")

    assert BEATS_A_TTL > 1
    assert sorted(set(ends)) == ends
    assert settlement is not None
    assert ("open", False) == (settlement.state_before, settlement.late)
    assert "0.5" == spend_text(settled_usage(gate, user))


def test_a_wrong_amount_leaves_the_hold_open(gate: Spendgate, user: str) -> None:
    """Nothing is sent for what is no amount, and nothing is forgotten."""
    with gate.hold(user, estimate_usd="0.9") as hold:
        for wrong in (float("nan"), -1, None):
            with pytest.raises(ValueError, match="cost_usd"):
                hold.settle(cost_usd=wrong)
        assert hold.is_open
        hold.settle(cost_usd="0.5")

    assert "0.5" == spend_text(settled_usage(gate, user))


def test_a_settle_that_the_sidecar_refuses_leaves_the_hold_open(gate: Spendgate, user: str) -> None:
    """A usage that is wrong can be corrected."""
    with gate.hold(user, estimate_usd="0.9") as hold:
        with pytest.raises(SpendgateRequestError) as caught:
            hold.settle(usage=Usage("gpt-5", input_tokens=-1, output_tokens=1))
        hold.settle(cost_usd="0.5")

    assert ("usage.input_tokens", "0.5") == (caught.value.field, spend_text(settled_usage(gate, user)))


def test_a_release_of_a_hold_that_is_unknown_yet_is_repeated() -> None:
    """It may have overtaken its reserve, so "no such hold" is believed the third time only."""
    sidecar = FakeSidecar()
    with Spendgate(transport=sidecar, fail="open") as gate:
        sidecar.is_away = True
        hold = gate.reserve("user-1", estimate_usd="0.5")
        sidecar.is_away = False
        hold.give_back()

        eventually(lambda: ["reserve", *["release"] * 3] == [operation.name for operation in sidecar.operations])


def test_a_hold_that_no_sidecar_knows_is_charged_by_its_settle() -> None:
    """The settle carries the moment of the reserve."""
    sidecar = FakeSidecar()
    with Spendgate(transport=sidecar, fail="open") as gate:
        sidecar.is_away = True
        hold = gate.reserve("user-1", estimate_usd="0.5")
        sidecar.is_away = False
        hold.settle(cost_usd="0.25")

    assert "0.25" == sidecar.spend_usd("user-1")


def test_an_estimate_in_tokens_is_settled_by_its_bound() -> None:
    """Where only tokens are known, success without a note charges the most that the call can have used."""
    sidecar = FakeSidecar(usd_per_million_tokens=1)
    with Spendgate(transport=sidecar) as gate:
        with gate.hold("user-1", usage=Usage("gpt-5", input_tokens=100_000, max_output_tokens=400_000)):
            pass
        with gate.hold("user-2", usage=Usage("gpt-5", input_tokens=100_000, estimate="p95")):
            pass

    assert ("0.5", "0") == (sidecar.spend_usd("user-1"), sidecar.spend_usd("user-2"))


async def test_an_awaited_hold_ends_in_the_same_ways(url: str, user: str) -> None:
    """Noted, estimated, closed and abandoned, awaited."""
    gate = AsyncSpendgate(url, timeout_s=TIMEOUT_S, tier="free")
    async with gate.hold(user, estimate_usd="0.2") as hold:
        hold.note_cost("0.001")
    async with gate.hold(user, estimate_usd="0.01"):
        pass
    hold = await gate.reserve(user, estimate_usd="0.2")
    hold.note_cost("0.1")
    await hold.close()
    hold = await gate.reserve(user, estimate_usd="0.2")
    hold.note_cost("0.2")
    hold.abandon()
    hold = await gate.reserve(user, estimate_usd="0.2")
    hold.give_back()
    await gate.close()
    with Spendgate(url, timeout_s=TIMEOUT_S) as other:
        assert "0.311" == spend_text(settled_usage(other, user))


def test_a_time_to_live_of_none_is_the_default(gate: Spendgate, user: str) -> None:
    """It is left out of the request, and the hold is kept and ended as any other."""
    gate.reserve(user, estimate_usd="0.5", ttl_s=None).release()  # type: ignore[arg-type] - what untyped callers give

    assert 0 == gate.usage(user).open_holds


def test_a_second_settle_that_is_wrong_does_not_open_the_hold_again(gate: Spendgate, user: str) -> None:
    """The first settle stands, and nothing is tried at the end of the block."""
    with gate.hold(user, estimate_usd="0.5") as hold:
        hold.settle(cost_usd="0.25")
        with pytest.raises(SpendgateRequestError, match="model"):
            hold.settle(usage=Usage("m" * 300, output_tokens=1))

        assert not hold.is_open


def test_what_no_request_can_hold_leaves_nothing_behind(url: str, user: str, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing was sent, so nothing is given back for a user who cannot even be named."""
    with Spendgate(url, timeout_s=TIMEOUT_S) as gate, pytest.raises(TypeError, match="user_id"):
        gate.reserve(object(), estimate_usd="0.5")  # type: ignore[arg-type] - what untyped callers give

    assert "errand failed" not in caplog.text
