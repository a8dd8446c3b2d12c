"""LiteLLM's own functions, budgeted."""

import gc
import time
import warnings
from decimal import Decimal
from typing import Any

import pytest
from spendgate import LLMBudgetExceededError

from tests.sdk.providers.test_calls import COST
from tests.support.fake_provider import FakeProvider, Fault
from tests.support.provider_apps import CHAT, App

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import litellm
    from spendgate.integrations.litellm import BudgetedLiteLLM

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """LiteLLM tells its users where to ask for help, on the standard output."""
    monkeypatch.setattr(litellm, "suppress_debug_info", True)


def _call(app: App, provider: FakeProvider, user: str, *, tier: str | None = None, **params: Any) -> Any:
    llm = BudgetedLiteLLM(app.gate, user_id=user, tier=tier, models={"openai/fake-model": "fake-model"})
    function = llm.acompletion if app.awaits else llm.completion
    settings = {"model": "openai/fake-model", "api_base": f"{provider.url}/v1", "api_key": "none", "max_retries": 0}
    return app.do(function(**CHAT | settings | params))


def test_an_answer_is_charged(app: App, provider: FakeProvider, user: str) -> None:
    """LiteLLM's own object comes back."""
    answer = _call(app, provider, user)

    assert isinstance(answer, litellm.ModelResponse)
    assert (COST, 0) == (app.spent(user), app.held(user))


def test_a_refused_call_is_not_made(app: App, provider: FakeProvider, user: str) -> None:
    """What a callback of LiteLLM's could not do."""
    with pytest.raises(LLMBudgetExceededError):
        _call(app, provider, user, tier="tight", max_tokens=200)

    assert [] == provider.seen


def test_a_stream_is_charged_and_is_litellms_own(app: App, provider: FakeProvider, user: str) -> None:
    """The usage that was asked for on the way is hidden again."""
    stream = _call(app, provider, user, stream=True)
    chunks = app.read(stream)

    assert isinstance(stream, litellm.CustomStreamWrapper)
    assert "".join(provider.answers.words) == "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert not any(getattr(chunk, "usage", None) for chunk in chunks)
    assert (COST, 0) == (app.spent(user), app.held(user))


@pytest.mark.parametrize(
    ("fault", "holds"), [(Fault(status=429), False), (Fault(status=400), False), (Fault(drops=True), True)]
)
def test_failures_are_charged_as_those_of_a_wrapped_client(
    app: App, provider: FakeProvider, user: str, fault: Fault, *, holds: bool
) -> None:
    """LiteLLM gives a lost connection the status 500, which is not the provider's."""
    provider.faults.append(fault)

    with pytest.raises(Exception, match=r"\w"):
        _call(app, provider, user)

    assert (0, holds) == (app.spent(user), app.held(user) > 0)


def test_a_dropped_stream_is_charged_by_what_was_streamed(app: App, provider: FakeProvider, user: str) -> None:
    """It is settled in the background."""
    stream = _call(app, provider, user, stream=True)
    app.read(stream, 3)
    del stream
    deadline = time.monotonic() + 60
    while not app.spent(user) and time.monotonic() < deadline:
        gc.collect()  # LiteLLM's own objects refer to each other

    assert Decimal("0.03") < app.spent(user) < Decimal("0.15")


def test_embeddings_are_charged(app: App, provider: FakeProvider, user: str) -> None:
    """They have no output."""
    llm = BudgetedLiteLLM(app.gate, user_id=user, models={"openai/fake-model": "fake-model"})
    function = llm.aembedding if app.awaits else llm.embedding

    app.do(function(model="openai/fake-model", input=["Say it."], api_base=f"{provider.url}/v1", api_key="none"))

    assert Decimal("0.02") == app.spent(user)
