"""LangChain's chat models of both providers, with the handler."""

import contextlib
from decimal import Decimal
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI
from spendgate import LLMBudgetExceededError, Spendgate
from spendgate.integrations.langchain import SpendgateHandler

from tests.sdk.providers.test_calls import COST
from tests.support.fake_provider import FakeProvider, Fault
from tests.support.fake_replies import Tokens
from tests.support.provider_apps import App


@pytest.fixture
def gate(app: App) -> Spendgate:
    """A blocking gate, for both ways of calling."""
    return app.reader


def _model(package: str, provider: FakeProvider, handler: SpendgateHandler, **options: Any) -> Any:
    kinds: dict[str, tuple[Any, str]] = {"openai": (ChatOpenAI, "/v1"), "anthropic": (ChatAnthropic, "")}
    kind, path = kinds[package]
    settings: dict[str, Any] = {"max_tokens": 10, "max_retries": 0, "api_key": "none"} | options
    return kind(model="fake-model", base_url=f"{provider.url}{path}", callbacks=[handler], **settings)


@pytest.mark.parametrize("package", ["openai", "anthropic"])
def test_an_answer_is_charged(app: App, gate: Spendgate, provider: FakeProvider, user: str, package: str) -> None:
    """By the usage of its message, cached tokens apart."""
    provider.answers.tokens = Tokens(input=10, cache_read=100, cache_write=40, output=1)
    model = _model(package, provider, SpendgateHandler(gate, user_id=user))

    app.do(model.ainvoke("Say it.") if app.awaits else model.invoke("Say it."))

    assert (Decimal("0.08"), 0) == (app.spent(user), app.held(user))


@pytest.mark.parametrize("package", ["openai", "anthropic"])
def test_a_refused_call_is_not_made(app: App, gate: Spendgate, provider: FakeProvider, user: str, package: str) -> None:
    """The error comes through LangChain as it is."""
    model = _model(package, provider, SpendgateHandler(gate, user_id=user, tier="tight"), max_tokens=200)

    with pytest.raises(LLMBudgetExceededError):
        app.do(model.ainvoke("Say it.") if app.awaits else model.invoke("Say it."))

    assert [] == provider.seen


@pytest.mark.parametrize("package", ["openai", "anthropic"])
def test_a_stream_is_charged(app: App, gate: Spendgate, provider: FakeProvider, user: str, package: str) -> None:
    """By its usage, where the model asks for it."""
    options = {"stream_usage": True} if package == "openai" else {}
    model = _model(package, provider, SpendgateHandler(gate, user_id=user), **options)

    app.read(model.astream("Say it.") if app.awaits else model.stream("Say it."))

    assert (COST, 0) == (app.spent(user), app.held(user))


@pytest.mark.parametrize(
    ("fault", "costs", "holds"),
    [(Fault(status=429), False, False), (Fault(drops=True), False, True), (Fault(breaks_after=6), True, False)],
)
def test_failures_are_charged_as_those_of_a_wrapped_client(
    app: App, gate: Spendgate, provider: FakeProvider, user: str, fault: Fault, *, costs: bool, holds: bool
) -> None:
    """Nothing for a refusal, the estimate for what nobody knows, what was streamed of a broken stream."""
    provider.faults.append(fault)
    model = _model("anthropic", provider, SpendgateHandler(gate, user_id=user))

    with contextlib.suppress(Exception):
        app.read(model.astream("Say it.") if app.awaits else model.stream("Say it."))

    assert (costs, holds) == (app.spent(user) > 0, app.held(user) > 0)
