"""A sidecar that hangs costs a few calls their timeout, and not every call."""

from collections.abc import Mapping
from typing import Any

import pytest
from spendgate import AsyncSpendgate, Spendgate, SpendgateUnavailableError
from spendgate._breaker import FIRST_PAUSE_S, LONGEST_PAUSE_S, TIMEOUTS, Breaker
from spendgate._exchange import Reply, Unreachable
from spendgate.testing import FakeSidecar

REFUSED = Unreachable("refused", sent=False)
TIMED_OUT = Unreachable("no answer", sent=True, timed_out=True)


class Clock:
    """A time that moves when it is told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        """Return it."""
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """The breaker's time."""
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    """A breaker that is open: calls waited in vain."""
    opened = Breaker(clock)
    for _ in range(TIMEOUTS):
        opened.check()
        opened.failed(TIMED_OUT)
    return opened


def _asks(breaker: Breaker) -> bool:
    try:
        breaker.check()
    except Unreachable:
        return False
    return True


def test_calls_do_not_wait_in_vain_for_ever(breaker: Breaker, clock: Clock) -> None:
    """One after the pause asks, and while it does no other; the pauses grow to their bound."""
    asked_at_s = []
    while clock.now_s < 10:
        if _asks(breaker):
            asked_at_s.append(clock.now_s)
            breaker.failed(TIMED_OUT)
        clock.now_s += FIRST_PAUSE_S / 2

    pauses_s = [later - earlier for earlier, later in zip([0.0, *asked_at_s], asked_at_s, strict=False)]
    assert [FIRST_PAUSE_S, 0.5, 1.0, LONGEST_PAUSE_S] == pauses_s[:4]
    assert {LONGEST_PAUSE_S} == set(pauses_s[4:])


def test_an_answer_lets_all_calls_ask(breaker: Breaker) -> None:
    """Also the next time it takes as many to stop them."""
    breaker.answered()

    assert _asks(breaker)
    breaker.failed(TIMED_OUT)
    assert _asks(breaker)


def test_what_is_slow_now_and_then_is_no_outage(clock: Clock) -> None:
    """Only timeouts in a row count."""
    breaker = Breaker(clock)
    for _ in range(10):
        for _ in range(TIMEOUTS - 1):
            breaker.failed(TIMED_OUT)
        breaker.answered()

    assert _asks(breaker)


def test_what_fails_at_once_costs_nothing(clock: Clock) -> None:
    """A sidecar that is gone is noticed by every call without waiting, and its return as well."""
    breaker = Breaker(clock)
    for _ in range(10 * TIMEOUTS):
        breaker.failed(REFUSED)

    assert _asks(breaker)


class Hanging(FakeSidecar):
    """A sidecar that hangs, and counts who waits."""

    def __init__(self) -> None:
        super().__init__()
        self.waited = 0
        self.hangs = True

    def send(self, path: str, fields: Mapping[str, Any] | None = None) -> Reply:
        """Take the whole timeout, in no time."""
        if self.hangs:
            self.waited += 1
            raise Unreachable("no answer", sent=True, timed_out=True)
        return super().send(path, fields)


def test_a_client_waits_a_few_times(caplog: pytest.LogCaptureFixture) -> None:
    """The others are decided by the failure policy at once, and it is said once."""
    sidecar = Hanging()
    with Spendgate(transport=sidecar, fail="closed") as gate:
        for _ in range(100):
            with pytest.raises(SpendgateUnavailableError):
                gate.check("user-1", cost_usd=1)
        waited = sidecar.waited
        sidecar.hangs = False
        gate._engine.core.breaker._until_s = 0.0
        assert gate.check("user-1", cost_usd=1).allowed
        assert gate.check("user-1", cost_usd=1).allowed

    assert TIMEOUTS <= waited < 50
    assert (1, 1) == (caplog.text.count("wait in vain;"), caplog.text.count("answers again"))


async def test_an_awaiting_client_waits_a_few_times() -> None:
    """The same, awaited."""
    sidecar = Hanging()
    async with AsyncSpendgate(transport=sidecar, fail="closed") as gate:
        for _ in range(100):
            with pytest.raises(SpendgateUnavailableError):
                await gate.check("user-1", cost_usd=1)
        waited = sidecar.waited

    assert TIMEOUTS <= waited < 50
