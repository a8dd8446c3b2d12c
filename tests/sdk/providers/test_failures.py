"""What is charged when something goes wrong: nothing for what was refused, the estimate for what nobody knows."""

import asyncio
from decimal import Decimal
from typing import Any

import anthropic
import openai
import pytest
from spendgate import LLMBudgetExceededError

from tests.sdk.providers.test_calls import COST, _method
from tests.support.fake_provider import FakeProvider, Fault
from tests.support.provider_apps import CHAT, App

ESTIMATE = Decimal("0.127")
"""27 tokens of input, estimated, and the 10 of output that are allowed."""

HANGS_S = 2.0
"""How long a provider that hangs is waited for; whatever else is slow has `PATIENT_S`."""
PATIENT_S = 60.0

METHODS = {"openai": "chat.completions.create", "anthropic": "messages.create"}

pytestmark = pytest.mark.parametrize("package", ["openai", "anthropic"])


def _call(app: App, package: str, user: str, *, tier: str | None = None, **options: Any) -> Any:
    client = getattr(app, package)(user, tier=tier).with_options(**options)
    return app.do(_method(client, METHODS[package])(**CHAT))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 429, 500, 503, 529])
def test_a_refused_request_costs_nothing(
    app: App, provider: FakeProvider, user: str, package: str, status: int
) -> None:
    """The provider bills no request that it refuses; the retries of its client change nothing about that."""
    provider.faults.extend([Fault(status=status)] * 3)

    with pytest.raises(Exception, match=str(status)):
        _call(app, package, user)

    assert (0, 0) == (app.spent(user), app.held(user))


@pytest.mark.parametrize("fault", [Fault(status=504), Fault(drops=True), Fault(body=b'{"an": "end')])
def test_a_request_of_unknown_outcome_keeps_its_estimate(
    app: App, provider: FakeProvider, user: str, package: str, fault: Fault
) -> None:
    """The provider may have made the whole answer; the hold stays until it expires."""
    provider.faults.append(fault)

    with pytest.raises((openai.OpenAIError, anthropic.AnthropicError, ValueError)):
        _call(app, package, user, max_retries=0)

    assert (0, ESTIMATE) == (app.spent(user), app.held(user))


def test_a_timeout_keeps_its_estimate(app: App, provider: FakeProvider, user: str, package: str) -> None:
    """The provider goes on after its caller gave up."""
    provider.faults.append(Fault(hangs=True))

    with pytest.raises(Exception, match="timed out"):
        _call(app, package, user, max_retries=0, timeout=HANGS_S)

    assert (0, ESTIMATE) == (app.spent(user), app.held(user))


def test_a_provider_that_cannot_be_reached_costs_nothing(app: App, user: str, package: str) -> None:
    """Nothing was sent."""
    with pytest.raises(Exception, match="Connection error"):
        _call(app, package, user, max_retries=0, base_url="http://127.0.0.1:1")

    assert (0, 0) == (app.spent(user), app.held(user))


def test_a_request_that_the_client_cannot_send_costs_nothing(app: App, user: str, package: str) -> None:
    """An error of the caller's is none of the provider's."""
    client = getattr(app, package)(user)

    with pytest.raises((TypeError, AttributeError)):
        app.do(_method(client, METHODS[package])(**CHAT, extra_headers={"X-Number": object()}))

    assert (0, 0) == (app.spent(user), app.held(user))


@pytest.mark.parametrize("status", [429, 500])
def test_a_retry_after_a_refusal_is_the_same_call(
    app: App, provider: FakeProvider, user: str, package: str, status: int
) -> None:
    """Two requests, one answer, one charge."""
    provider.faults.append(Fault(status=status))
    _call(app, package, user)

    assert (2, COST, 0) == (len(provider.seen), app.spent(user), app.held(user))


@pytest.mark.parametrize("fault", [Fault(drops=True), Fault(hangs=True), Fault(status=504)])
def test_a_retry_after_an_unknown_outcome_hides_no_spend(
    app: App, provider: FakeProvider, user: str, package: str, fault: Fault
) -> None:
    """The answer is charged once; the attempt before it may be billed as well, so its hold stays."""
    provider.faults.append(fault)
    _call(app, package, user, timeout=HANGS_S if fault.hangs else PATIENT_S)

    assert (2, COST, ESTIMATE) == (len(provider.seen), app.spent(user), app.held(user))


def test_a_retry_that_the_budget_does_not_allow_is_not_made(
    app: App, provider: FakeProvider, user: str, package: str
) -> None:
    """An attempt that may have cost money takes its part of the limit before the next is admitted."""
    provider.faults.extend([Fault(drops=True)] * 9)

    with pytest.raises(LLMBudgetExceededError):
        _call(app, package, user, tier="tight", max_retries=9)

    assert 7 == len(provider.seen)


def test_a_cancelled_call_keeps_its_estimate(app: App, provider: FakeProvider, user: str, package: str) -> None:
    """Cancellation is no `Exception`, and the provider does not hear of it in time."""
    if not app.awaits:
        return
    provider.faults.append(Fault(hangs=True))
    client = getattr(app, package)(user)

    async def cancel() -> None:
        task = asyncio.ensure_future(_method(client, METHODS[package])(**CHAT))
        while not provider.seen:  # noqa: ASYNC110 - the request is seen by another thread
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    app.do(cancel())

    assert (0, ESTIMATE) == (app.spent(user), app.held(user))


class Interrupted(BaseException):
    """What ends a wait from outside, as KeyboardInterrupt and cancellation do."""


@pytest.mark.parametrize(("fault", "held"), [(Fault(status=429), 0), (Fault(drops=True), ESTIMATE)])
def test_a_wait_before_a_retry_that_is_interrupted_costs_nothing(
    app: App,
    provider: FakeProvider,
    user: str,
    package: str,
    fault: Fault,
    held: Decimal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The retry was not sent: only the attempt before it may be billed, and not if it was refused."""

    def interrupt(*_: object) -> float:
        raise Interrupted

    kind = type(getattr(app, f"bare_{package}"))
    monkeypatch.setattr(kind, "_calculate_retry_timeout", interrupt)
    provider.faults.append(fault)

    with pytest.raises(Interrupted):
        _call(app, package, user)

    assert (1, 0, held) == (len(provider.seen), app.spent(user), app.held(user))


def test_a_retry_of_unknown_outcome_after_a_refusal_keeps_the_estimate(
    app: App, provider: FakeProvider, user: str, package: str
) -> None:
    """What is known of the first attempt says nothing of the second, which was sent as well."""
    provider.faults.extend([Fault(status=429), Fault(drops=True)])

    with pytest.raises((openai.APIConnectionError, anthropic.APIConnectionError)):
        _call(app, package, user, max_retries=1)

    assert (2, 0, ESTIMATE) == (len(provider.seen), app.spent(user), app.held(user))
