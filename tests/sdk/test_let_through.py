"""What was let through without a sidecar, or could not be settled just now, is charged once there is one again."""

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from spendgate import AsyncSpendgate, Spendgate, Usage
from spendgate._exchange import Reply
from spendgate.testing import FakeSidecar

from tests.support.sdk_gates import TIMEOUT_S, eventually, settled_usage, spend_text


class Refusing(FakeSidecar):
    """A sidecar that answers with a problem while `status` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.status: int | None = None

    def send(self, path: str, fields: Mapping[str, Any] | None = None) -> Reply:
        """Refuse, or answer."""
        if self.status is not None:
            return Reply(self.status, {"code": "refused", "detail": "not now"})
        return super().send(path, fields)


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_a_call_of_unknown_outcome_is_charged_its_estimate(kind: type[BaseException]) -> None:
    """Nothing is held for it anywhere, so nothing would expire: the money may be gone all the same."""
    sidecar = FakeSidecar()
    with Spendgate(transport=sidecar, fail="open") as gate:
        sidecar.is_away = True
        with pytest.raises(kind), gate.hold("user-1", estimate_usd="0.5"):  # noqa: PT012 - what is raised inside counts
            sidecar.is_away = False
            raise kind

    assert "0.5" == sidecar.spend_usd("user-1")


def test_without_a_bound_it_cannot_be_charged_and_that_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """Tokens that only a sidecar could guess have no price here."""
    sidecar = FakeSidecar()
    with Spendgate(transport=sidecar, fail="open") as gate:
        sidecar.is_away = True
        with pytest.raises(ValueError, match="lost"), gate.hold("user-1", usage=Usage("gpt-5", estimate="p95")):
            raise ValueError("lost")

    assert "NOT CHARGED" in caplog.text


def test_a_check_is_charged_afterwards() -> None:
    """Its cost is known, so it counts even past a limit."""
    sidecar = FakeSidecar()
    sidecar.limit("user-1", "0.1")
    sidecar.is_away = True
    with Spendgate(transport=sidecar, fail="open") as gate:
        assert gate.check("user-1", cost_usd="0.25").degraded
        sidecar.is_away = False
        eventually(lambda: "0.25" == sidecar.spend_usd("user-1"))


async def test_an_awaited_check_is_charged_afterwards() -> None:
    """The awaiting client does the same."""
    sidecar = FakeSidecar()
    sidecar.is_away = True
    async with AsyncSpendgate(transport=sidecar, fail="open") as gate:
        assert (await gate.check("user-1", cost_usd="0.25")).degraded
        sidecar.is_away = False
        await asyncio.to_thread(eventually, lambda: "0.25" == sidecar.spend_usd("user-1"))


def test_a_check_that_had_arrived_is_not_charged_again(
    url: str, user: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its answer was lost, the call went on; the sidecar knows its id."""
    with Spendgate(url, timeout_s=TIMEOUT_S, tier="free") as gate:
        gate.check(user, cost_usd="0.25", request_id="call-1")
        engine = gate._engine
        sidecar, engine._transport = engine._transport, FakeSidecar()
        engine._transport.is_away = True
        engine.core.policies._fail, engine.core.policies._told = "open", type(engine.core.policies._told)()
        assert gate.check(user, cost_usd="0.25", request_id="call-1").degraded
        engine._transport = sidecar
        eventually(lambda: not len(engine.courier._delivery._journal))

        assert "0.25" == spend_text(settled_usage(gate, user))
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("status", [401, 403, 429])
def test_a_settle_that_is_refused_for_now_is_kept(status: int) -> None:
    """A token that is being changed, or too many calls, say nothing of what a call did cost."""
    sidecar = Refusing()
    with Spendgate(transport=sidecar) as gate:
        hold = gate.reserve("user-1", estimate_usd="0.5")
        sidecar.status = status

        assert hold.settle(cost_usd="0.25") is None
        sidecar.status = None
        eventually(lambda: "0.25" == sidecar.spend_usd("user-1"))


async def test_an_awaited_settle_that_is_refused_for_now_is_kept() -> None:
    """The awaiting client does the same."""
    sidecar = Refusing()
    async with AsyncSpendgate(transport=sidecar) as gate:
        hold = await gate.reserve("user-1", estimate_usd="0.5")
        sidecar.status = 401

        assert await hold.settle(cost_usd="0.25") is None
        sidecar.status = None
        await asyncio.to_thread(eventually, lambda: "0.25" == sidecar.spend_usd("user-1"))


async def test_closing_does_not_block_the_loop() -> None:
    """What is left is handed in by the courier, while the loop goes on."""
    loop_goes_on = threading.Event()

    class Slow(FakeSidecar):
        def send(self, path: str, fields: Mapping[str, Any] | None = None) -> Reply:
            if path == "/v1/release":
                assert loop_goes_on.wait(TIMEOUT_S), "the loop stood still"
            return super().send(path, fields)

    sidecar = Slow()
    gate = AsyncSpendgate(transport=sidecar)
    (await gate.reserve("user-1", estimate_usd="0.5")).give_back()
    closing = asyncio.create_task(gate.close())
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(loop_goes_on.set)
    await closing

    assert "0" == sidecar.held_usd("user-1")


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"user_id": 42}, "user_id must be a str, not 42"),
        ({"tier": 1}, "tier must be a str"),
        ({"request_id": b"call-1"}, "request_id must be a str"),
        ({"usage": {"model": "gpt-5"}}, r"usage must be a spendgate\.Usage"),
        ({"usage": Usage(object())}, r"usage\.model must be text"),  # type: ignore[arg-type] - what untyped callers give
        ({"meta": "trace-1"}, "meta must be a mapping"),
        ({"meta": {"trace": ["a"]}}, r"meta\.trace must be text"),
        ({"ttl_s": [1]}, "ttl_s must be text or a number"),
    ],
)
def test_a_wrong_type_is_named(wrong: dict[str, Any], named: str) -> None:
    """The message says which argument it was, whatever came in; nothing is sent."""
    sidecar = FakeSidecar()
    amount = {} if "usage" in wrong else {"estimate_usd": 1}
    with Spendgate(transport=sidecar) as gate, pytest.raises(TypeError, match=named):
        gate.reserve(**{"user_id": "user-1", **amount, **wrong})

    assert [] == sidecar.operations


def test_a_wrong_option_is_named() -> None:
    """At once, not with the first warning or in an outage."""
    for options, named in (
        ({"timeout_s": "1"}, "timeout_s"),
        ({"fail": ["open"]}, "fail"),
        ({"on_budget_warning": "print"}, "on_budget_warning"),
        ({"url": 8787}, "url"),
    ):
        with pytest.raises((TypeError, ValueError), match=named):
            Spendgate(**options)  # type: ignore[arg-type]
