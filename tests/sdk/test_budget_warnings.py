"""`on_budget_warning`: once a threshold and window, by function or coroutine, and never in the way of a call."""

import logging
from collections.abc import Callable
from decimal import Decimal

import pytest
from spendgate import AsyncSpendgate, BudgetWarning, Spendgate

from tests.support.sdk_gates import TIMEOUT_S

pytestmark = pytest.mark.usefixtures("each_transport")


class Recorder:
    """A callback that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[BudgetWarning] = []

    def __call__(self, warning: BudgetWarning) -> None:
        """Remember it."""
        self.told.append(warning)

    async def awaited(self, warning: BudgetWarning) -> None:
        """Remember it likewise, as a coroutine."""
        self.told.append(warning)

    @property
    def thresholds(self) -> list[int | None]:
        """The thresholds it was told of."""
        return [warning.threshold_pct for warning in self.told]


def _gate(url: str, callback: Callable[[BudgetWarning], object], **options: bool) -> Spendgate:
    return Spendgate(url, timeout_s=TIMEOUT_S, tier="warned", on_budget_warning=callback, **options)


def test_each_threshold_is_told_once(url: str, user: str) -> None:
    """Half, then four fifths of the limit, then the limit: a call each; calls in between are silent."""
    recorder = Recorder()
    with _gate(url, recorder) as gate:
        for cost in ("0.4", "0.1", "0.1", "0.2", "0.1", "0.2", "0.2"):
            gate.check(user, cost_usd=cost)

    assert [50, 80, None] == recorder.thresholds
    assert ["threshold", "threshold", "limit"] == [warning.kind for warning in recorder.told]


def test_a_warning_tells_the_budget(url: str, user: str) -> None:
    """Everything that a message to the user needs is in it."""
    recorder = Recorder()
    with _gate(url, recorder) as gate:
        gate.check(user, cost_usd="0.55")

    warning = recorder.told[0]
    assert (True, True, user, "warned", Decimal("0.55"), Decimal(1), Decimal(55)) == (
        *(warning.allowed, warning.warned, warning.user_id, warning.tier),
        *(warning.spend_usd, warning.limit_usd, warning.percent),
    )
    assert (warning.budget.window_start, warning.budget.resets_at) == (warning.window_start, warning.resets_at)


def test_a_settle_warns_too(url: str, user: str) -> None:
    """Thresholds look at what is spent, so it is the settle that reaches them, not the hold."""
    recorder = Recorder()
    with _gate(url, recorder) as gate, gate.hold(user, estimate_usd="0.9") as hold:
        assert [] == recorder.told
        hold.settle(cost_usd="0.6")

    assert [50] == recorder.thresholds


def test_another_process_is_not_told_again(url: str, user: str) -> None:
    """The ledger knows what was told, so a hundred workers do not send a hundred messages."""
    recorders = [Recorder(), Recorder(), Recorder()]
    for recorder in recorders:
        with _gate(url, recorder) as gate:
            gate.check(user, cost_usd="0.15")
            gate.check(user, cost_usd="0.1")

    assert [[], [50], []] == [recorder.thresholds for recorder in recorders]


def test_every_call_past_a_threshold_is_told_if_wanted(url: str, user: str) -> None:
    """With `every_call` each request id is told once, though both its hold and its settle would warn."""
    recorder = Recorder()
    with _gate(url, recorder, every_call=True) as gate:
        gate.check(user, cost_usd="0.55")
        gate.check(user, cost_usd="0.01")
        with gate.hold(user, estimate_usd="0.01") as hold:
            hold.settle(cost_usd="0.02")

    assert [50, 50, 50] == recorder.thresholds


def test_a_blocking_client_runs_a_coroutine_function(url: str, user: str) -> None:
    """An app with one kind of callback can use it with both kinds of clients."""
    recorder = Recorder()
    with _gate(url, recorder.awaited) as gate:
        gate.check(user, cost_usd="0.55")

    assert [50] == recorder.thresholds


async def test_an_awaiting_client_takes_both_kinds(url: str, user: str) -> None:
    """Functions and coroutine functions alike."""
    recorder = Recorder()
    for callback, cost in ((recorder, "0.55"), (recorder.awaited, "0.3")):
        async with AsyncSpendgate(url, timeout_s=TIMEOUT_S, tier="warned", on_budget_warning=callback) as gate:
            await gate.check(user, cost_usd=cost)

    assert [50, 80] == recorder.thresholds


async def test_a_failing_callback_is_logged_and_changes_nothing(
    url: str, user: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A broken messenger does not break the call that it reports."""

    def fail(_: BudgetWarning) -> None:
        raise RuntimeError("the messenger is broken")

    async def fail_later(warning: BudgetWarning) -> None:
        fail(warning)

    with _gate(url, fail) as gate:
        assert gate.check(user, cost_usd="0.55").allowed
    async with AsyncSpendgate(url, timeout_s=TIMEOUT_S, tier="warned", on_budget_warning=fail_later) as awaiting:
        assert (await awaiting.check(user, cost_usd="0.3")).allowed

    assert 2 == sum(record.levelno == logging.ERROR and record.exc_info is not None for record in caplog.records)


def test_a_dry_run_is_a_line_in_the_log(url: str, user: str, caplog: pytest.LogCaptureFixture) -> None:
    """What would have been blocked proceeds."""
    with Spendgate(url, timeout_s=TIMEOUT_S, tier="dry") as gate:
        decision = gate.check(user, cost_usd=2)

    assert (True, True) == (decision.allowed, decision.would_block)
    assert f"dry run: user {user} would have been blocked" in caplog.text
