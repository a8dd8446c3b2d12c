"""The circuit breaker: when it opens, that one probe at a time asks, and how it closes."""

import asyncio
import logging
from dataclasses import dataclass, field

import pytest

from ledger.errors import StoreNotAsked, StoreUnavailable
from sidecar.breaker import LEAST_RUNS, MEMORY_S, Breaker, BreakerLimits, BreakerState, Prober

GONE = StoreUnavailable("gone")


@dataclass
class Time:
    """A monotonic clock that tests move."""

    now_s: float = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now_s


@dataclass
class UnderTest:
    """A breaker with its clock and the transitions that it told."""

    time: Time = field(default_factory=Time)
    told: list[str] = field(default_factory=list)

    def breaker(self, **limits: float) -> Breaker:
        """Return a breaker without jitter."""
        return Breaker(
            BreakerLimits(**limits),  # type: ignore[arg-type]
            on_change=self.told.append,
            clock=self.time,
            jitter=lambda: 1.0,
        )


def fail(breaker: Breaker, times: int) -> None:
    """Let some runs fail."""
    for _ in range(times):
        breaker.fail(GONE)


def test_it_opens_when_enough_runs_failed() -> None:
    """One hiccup, or four, are no outage."""
    breaker = UnderTest().breaker()
    fail(breaker, LEAST_RUNS - 1)
    assert not breaker.is_open
    fail(breaker, 1)
    assert breaker.is_open


def test_a_failure_rate_below_the_limit_keeps_it_closed() -> None:
    """Four of ten are below 50 percent, however long it goes on."""
    breaker = UnderTest().breaker()
    for number in range(200):
        if number % 10 in {3, 5, 7, 9}:
            breaker.fail(GONE)
        else:
            breaker.succeed()
    assert not breaker.is_open


def test_a_store_that_fails_every_other_run_opens_it() -> None:
    """Half of the callers would wait for nothing; a breaker for failures in a row would never notice."""
    breaker = UnderTest().breaker()
    for _ in range(LEAST_RUNS):
        breaker.succeed()
        breaker.fail(GONE)
    assert breaker.is_open


def test_many_runs_that_went_well_do_not_delay_it() -> None:
    """After thousands of successes in a second, five failures are still enough; catches a rate over a time."""
    breaker = UnderTest().breaker()
    for _ in range(10_000):
        breaker.succeed()
    fail(breaker, LEAST_RUNS)
    assert breaker.is_open


def test_old_failures_are_forgotten() -> None:
    """Five failures in an hour are none."""
    under_test = UnderTest()
    breaker = under_test.breaker()
    for _ in range(LEAST_RUNS * 2):
        fail(breaker, 1)
        under_test.time.now_s += MEMORY_S
    assert not breaker.is_open


def test_an_open_breaker_refuses_at_once_and_says_that_nothing_was_sent() -> None:
    """So nothing can have landed, and there is nothing to undo later."""
    breaker = UnderTest().breaker()
    breaker.check()
    breaker.trip("told so")
    with pytest.raises(StoreNotAsked):
        breaker.check()


def test_callers_are_refused_during_a_probe_too() -> None:
    """None of them is used to find out whether the store is well."""
    breaker = UnderTest().breaker()
    breaker.trip("told so")
    breaker.begin_probe()
    with pytest.raises(StoreNotAsked):
        breaker.check()


def test_what_was_under_way_does_not_close_or_reopen_it() -> None:
    """Only the probe decides; late answers and late failures of earlier runs are old news."""
    under_test = UnderTest()
    breaker = under_test.breaker()
    breaker.trip("told so")
    breaker.succeed()
    fail(breaker, LEAST_RUNS * 2)
    assert [BreakerState.OPEN] == under_test.told


def test_after_it_closed_it_judges_anew() -> None:
    """The failures that opened it do not count again."""
    breaker = UnderTest().breaker()
    fail(breaker, LEAST_RUNS)
    breaker.end_probe(None)
    fail(breaker, LEAST_RUNS - 1)
    assert not breaker.is_open


async def pauses(breaker: Breaker, count: int) -> list[float]:
    """Let some probes fail; return the pauses before them."""
    seen = []
    for _ in range(count):
        seen.append(await breaker.opened())
        breaker.begin_probe()
        breaker.end_probe(GONE)
    return seen


async def test_pauses_grow_to_the_longest() -> None:
    """The first probe comes soon, for most outages are short; a long one costs little."""
    breaker = UnderTest().breaker(longest_pause_s=2.0)
    breaker.trip("told so")
    assert [0.25, 0.5, 1.0, 2.0, 2.0] == await pauses(breaker, 5)


async def test_a_flapping_store_is_asked_less_and_less() -> None:
    """Each time it fails again soon after it was well the pause is longer; after a quiet time it begins anew."""
    under_test = UnderTest()
    breaker = under_test.breaker(longest_pause_s=2.0)
    seen = []
    for quiet_s in (1.0, 1.0, 1.0, 1.0, MEMORY_S, 0.0):
        fail(breaker, LEAST_RUNS)
        seen.append(await breaker.opened())
        breaker.begin_probe()
        breaker.end_probe(None)
        under_test.time.now_s += quiet_s
    assert [0.25, 0.5, 1.0, 2.0, 2.0, 0.25] == seen


async def test_jitter_spreads_many_sidecars() -> None:
    """A thousand sidecars that lost the store in the same moment do not come back in the same moment."""
    seen = set()
    for _ in range(100):
        breaker = Breaker(BreakerLimits(longest_pause_s=2.0))
        breaker.trip("told so")
        seen.add(await breaker.opened())
    assert len(seen) > 90
    assert 0.125 <= min(seen) <= max(seen) <= 0.25


class Store:
    """A store whose probe fails some times, hangs or answers; it counts how many ask at the same time."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.asked = self.at_once = self.most_at_once = 0

    async def probe(self) -> None:
        """Answer, or not."""
        self.asked += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(0)
            if self.asked <= self.failures:
                raise StoreUnavailable("not yet")
        finally:
            self.at_once -= 1


async def until_closed(breaker: Breaker) -> None:
    """Wait for it."""
    async with asyncio.timeout(60):
        while breaker.is_open:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0)


async def test_probes_ask_one_at_a_time_until_the_store_answers() -> None:
    """Half-open is one question; when it was answered the breaker is closed and nobody asks any more."""
    under_test = UnderTest()
    breaker, store = under_test.breaker(longest_pause_s=0.001), Store(failures=3)
    task = asyncio.create_task(Prober(breaker, store.probe, timeout_s=5).run())
    breaker.trip("told so")
    await until_closed(breaker)
    task.cancel()
    assert ["open", *["half_open", "open"] * 3, "half_open", "closed"] == under_test.told
    assert (4, 1) == (store.asked, store.most_at_once)


async def test_a_probe_that_hangs_is_a_probe_that_failed() -> None:
    """A frozen store takes the question and says nothing."""
    under_test = UnderTest()
    breaker = under_test.breaker(longest_pause_s=0.001)
    task = asyncio.create_task(Prober(breaker, asyncio.Event().wait, timeout_s=0.001).run())  # type: ignore[arg-type]
    breaker.trip("told so")
    async with asyncio.timeout(60):
        while len(under_test.told) < 5:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0)
    task.cancel()
    assert breaker.is_open


async def test_an_outage_is_two_lines_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """One when it opens, one when it closes, none for a caller or a probe that fails."""
    caplog.set_level(logging.INFO)
    breaker = UnderTest().breaker()
    breaker.trip("told so")
    for _ in range(100):
        with pytest.raises(StoreNotAsked):
            breaker.check()
        breaker.fail(GONE)
    await pauses(breaker, 5)
    breaker.end_probe(None)
    assert ["the breaker is open (told", "the breaker is closed: the"] == [
        record.message[:26].strip() for record in caplog.records
    ]


def test_failures_that_do_not_open_it_are_logged_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    """A store that fails one run in ten is worth a line, and no more than one in ten seconds."""
    under_test = UnderTest()
    breaker = under_test.breaker()
    for number in range(1000):
        under_test.time.now_s += MEMORY_S / 100
        if number % 10:
            breaker.succeed()
        else:
            breaker.fail(GONE)
    assert 9 <= len(caplog.records) <= 11
