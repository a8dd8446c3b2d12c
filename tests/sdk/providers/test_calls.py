"""Whole answers: charged by what the provider reports, handed over untouched, refused before anything is sent."""

import copy
from decimal import Decimal
from typing import Any

import openai
import pytest
from spendgate import LLMBudgetExceededError
from spendgate.providers import PayerUnknownError, acting_for, wrap

from tests.support.fake_provider import FakeProvider
from tests.support.fake_replies import Tokens
from tests.support.provider_apps import CHAT, MESSAGES, App

COST = Decimal("0.09")
"""20 tokens of input and 7 of output, which is what the fake provider reports."""

RESPONSE = {"model": "fake-model", "input": "Say it.", "max_output_tokens": 10}
CALLS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "chat": ("openai", "chat.completions.create", CHAT),
    "parse": ("openai", "chat.completions.parse", CHAT),
    "completion": ("openai", "completions.create", {"model": "fake-model", "prompt": "Say it.", "max_tokens": 10}),
    "response": ("openai", "responses.create", RESPONSE),
    "message": ("anthropic", "messages.create", CHAT),
    "beta message": ("anthropic", "beta.messages.create", CHAT),
}


def _method(client: Any, path: str) -> Any:
    for name in path.split("."):
        client = getattr(client, name)
    return client


@pytest.mark.parametrize("call", CALLS)
def test_an_answer_is_charged_by_its_usage_and_is_what_the_bare_client_returns(app: App, user: str, call: str) -> None:
    """The provider's own object comes back, of the same type and content."""
    package, path, params = CALLS[call]
    wrapped, bare = getattr(app, package)(user), getattr(app, f"bare_{package}")

    answer, expected = app.do(_method(wrapped, path)(**params)), app.do(_method(bare, path)(**params))

    assert (type(expected), expected.model_dump()) == (type(answer), answer.model_dump())
    assert (COST, 0) == (app.spent(user), app.held(user))


def test_embeddings_are_charged_for_their_input(app: App, user: str) -> None:
    """They have no output."""
    app.do(app.openai(user).embeddings.create(model="fake-model", input="Say it."))

    assert Decimal("0.02") == app.spent(user)


@pytest.mark.parametrize(("package", "path"), [("openai", "chat.completions.create"), ("anthropic", "messages.create")])
def test_cached_tokens_are_charged_as_such(
    app: App, provider: FakeProvider, user: str, package: str, path: str
) -> None:
    """OpenAI counts them within its input and Anthropic beside it; both cost the same here."""
    provider.answers.tokens = Tokens(input=10, cache_read=100, cache_write=40, output=1, reasoning=1)

    app.do(_method(getattr(app, package)(user), path)(**CHAT))

    assert Decimal("0.01") + Decimal("0.01") + Decimal("0.05") + Decimal("0.01") == app.spent(user)


@pytest.mark.parametrize("call", CALLS)
def test_a_blocked_call_is_not_made(app: App, provider: FakeProvider, user: str, call: str) -> None:
    """What is over the limit is refused before the provider hears of it: exactly zero requests."""
    package, path, params = CALLS[call]
    limit = {"max_output_tokens": 200} if call == "response" else {"max_tokens": 200}
    wrapped = getattr(app, package)(user, tier="tight")

    with pytest.raises(LLMBudgetExceededError) as refused:
        app.do(_method(wrapped, path)(**params | limit))

    assert ("limit", user, 0) == (refused.value.reason, refused.value.user_id, len(provider.seen))
    assert not isinstance(refused.value, openai.OpenAIError)


def test_a_raw_response_is_charged_before_it_is_parsed(app: App, user: str) -> None:
    """It stays unparsed; its bytes tell."""
    raw = app.do(app.openai(user).chat.completions.with_raw_response.create(**CHAT))

    assert COST == app.spent(user)
    assert 27 == raw.parse().usage.total_tokens


@pytest.mark.parametrize(("package", "resource"), [("openai", "chat.completions"), ("anthropic", "messages")])
def test_a_streaming_response_is_charged_as_it_is_read(app: App, user: str, package: str, resource: str) -> None:
    """Nothing is read before its reader does; then the bytes are those of the bare client."""
    bodies = []
    for client in (getattr(app, package)(user), getattr(app, f"bare_{package}")):
        manager = _method(client, resource).with_streaming_response.create(**CHAT)
        with app.entered(manager) as response:
            assert (client is getattr(app, f"bare_{package}")) or app.spent(user) == 0
            bodies.append(app.do(response.read()))

    assert bodies[0] == bodies[1]
    assert COST == app.spent(user)


def test_a_request_by_path_is_budgeted_too(app: App, user: str) -> None:
    """`client.post` is how both packages make requests that have no method."""
    app.do(app.openai(user).post("/chat/completions", body=CHAT, cast_to=object))

    assert COST == app.spent(user)


def test_a_copy_of_a_wrapped_client_is_wrapped(app: App, user: str) -> None:
    """`with_options` is how callers change a timeout for one call."""
    app.do(app.openai(user).with_options(timeout=9).chat.completions.create(**CHAT))
    app.do(app.anthropic(user).copy().messages.create(**CHAT))
    app.do(copy.copy(app.openai(user)).chat.completions.create(**CHAT))

    assert 3 * COST == app.spent(user)


def test_the_wrapped_client_keeps_its_class_and_leaves_the_original_alone(app: App, user: str) -> None:
    """Type checks pass, and calls of the original are nobody's."""
    wrapped = app.openai(user)
    app.do(app.bare_openai.chat.completions.create(**CHAT))

    assert type(app.bare_openai) is type(wrapped)
    assert 0 == app.spent(user)


def test_wrapping_anew_charges_once_and_another_user(app: App, user: str) -> None:
    """A client that is wrapped for each request is not wrapped twice."""
    other = f"{user}-other"
    app.do(wrap(app.openai(user), app.gate, user_id=other).chat.completions.create(**CHAT))

    assert (0, COST) == (app.spent(user), app.spent(other))


def test_the_user_can_be_said_around_the_calls(app: App, user: str) -> None:
    """One client serves all users."""
    client = wrap(app.bare_openai, app.gate)
    with acting_for(user, tier="roomy"):
        app.do(client.chat.completions.create(**CHAT))

    assert COST == app.spent(user)


def test_a_call_for_nobody_is_not_made(app: App, provider: FakeProvider) -> None:
    """No budget could answer for it."""
    client = wrap(app.bare_openai, app.gate)

    with pytest.raises(PayerUnknownError, match="acting_for"):
        app.do(client.chat.completions.create(**CHAT))

    assert [] == provider.seen


def test_an_azure_deployment_is_priced_by_the_name_of_its_model(app: App, provider: FakeProvider, user: str) -> None:
    """A deployment may be called anything."""
    kind = openai.AsyncAzureOpenAI if app.awaits else openai.AzureOpenAI
    bare = kind(api_key="none", azure_endpoint=provider.url, api_version="2024-10-21")
    client = wrap(bare, app.gate, user_id=user, models={"ours": "fake-model"})

    app.do(client.chat.completions.create(**CHAT | {"model": "ours"}))
    app.do(bare.close())

    assert COST == app.spent(user)


def test_messages_that_can_be_read_once_are_sent_whole(app: App, provider: FakeProvider, user: str) -> None:
    """An estimate reads them before the provider's client does."""
    app.do(app.openai(user).chat.completions.create(**CHAT | {"messages": iter(MESSAGES)}))

    assert MESSAGES == provider.seen[0].body["messages"]


def test_what_costs_money_and_is_not_budgeted_is_said_once(
    app: App, user: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Silence would look like a budget."""
    client = app.openai(user)
    for _ in range(2):
        with pytest.raises(openai.OpenAIError):
            app.do(client.with_options(base_url="http://127.0.0.1:1", max_retries=0).images.generate(prompt="A gate."))

    assert ["requests to images are not budgeted: they are neither held nor charged"] == [
        record.message for record in caplog.records if record.name == "spendgate"
    ]
