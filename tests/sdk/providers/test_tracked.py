"""`tracked_call` and `tracked_stream`, and the warnings of a wrapped client."""

from typing import Any

import pytest
from spendgate import BudgetWarning, LLMBudgetExceededError, Spendgate
from spendgate.providers import tracked_call, tracked_stream, wrap

from tests.sdk.providers.test_calls import COST
from tests.support.fake_provider import FakeProvider
from tests.support.provider_apps import CHAT, App

PARAMS: dict[str, tuple[str, dict[str, Any], str]] = {
    "chat": ("openai", CHAT, "chat/completions"),
    "responses": ("openai", {"model": "fake-model", "input": "Say it."}, "responses"),
    "completions": ("openai", {"model": "fake-model", "prompt": "Say it."}, "completions"),
    "embeddings": ("openai", {"model": "fake-model", "input": "Say it.", "api": "embeddings"}, "embeddings"),
    "messages": ("anthropic", CHAT, "messages"),
}


@pytest.mark.parametrize("name", PARAMS)
def test_a_tracked_call_finds_its_method(app: App, provider: FakeProvider, user: str, name: str) -> None:
    """What the parameters do not tell is said by `api`."""
    package, params, path = PARAMS[name]
    api = {"api": "embeddings"} if name == "embeddings" else {}
    params = {key: value for key, value in params.items() if key != "api"}

    app.do(tracked_call(client=getattr(app, f"bare_{package}"), params=params, gate=app.gate, user_id=user, **api))

    assert [path] == [seen.path for seen in provider.seen]
    assert 0 < app.spent(user)


def test_a_tracked_stream_is_the_providers_own(app: App, user: str) -> None:
    """It is settled when it was read."""
    stream = app.do(tracked_stream(client=app.bare_openai, params=CHAT, gate=app.gate, user_id=user))

    assert type(app.do(app.bare_openai.chat.completions.create(**CHAT, stream=True))) is type(stream)
    assert 7 == len(app.read(stream))
    assert COST == app.spent(user)


def test_a_refused_call_raises_and_is_not_made(app: App, provider: FakeProvider, user: str) -> None:
    """The tier is that of the call."""
    with pytest.raises(LLMBudgetExceededError):
        app.do(
            tracked_call(
                client=app.bare_openai, params=CHAT | {"max_tokens": 200}, gate=app.gate, user_id=user, tier="tight"
            )
        )

    assert [] == provider.seen


def test_a_warning_is_told_once(app: App, user: str) -> None:
    """The sixth call of 0.09 USD reaches half of the limit of 1 USD; the others tell nobody."""
    told: list[BudgetWarning] = []
    for _ in range(8):
        app.do(
            tracked_call(
                client=app.bare_openai,
                params=CHAT,
                gate=app.gate,
                user_id=user,
                tier="warned",
                on_budget_warning=told.append,
            )
        )

    assert [("threshold", 50, user, True)] == [
        (warning.kind, warning.threshold_pct, warning.user_id, warning.allowed) for warning in told
    ]
    assert 6 * COST == told[0].spend_usd


def test_a_callback_that_throws_does_not_reach_the_call(app: App, user: str, caplog: pytest.LogCaptureFixture) -> None:
    """The log has it."""

    def throw(warning: BudgetWarning) -> None:
        raise RuntimeError(f"no mail for {warning.user_id}")

    client = wrap(app.bare_openai, app.gate.telling(throw), user_id=user, tier="warned")
    for _ in range(6):
        assert app.do(client.chat.completions.create(**CHAT)).usage.total_tokens == 27

    assert any(f"no mail for {user}" in (record.exc_text or "") for record in caplog.records)


def test_a_dry_run_only_tells_the_log(app: App, user: str, caplog: pytest.LogCaptureFixture) -> None:
    """The call is made, and the log says that it would not have been."""
    app.do(app.openai(user, tier="dry").chat.completions.create(**CHAT))

    assert any("would have been blocked" in record.message for record in caplog.records)
    assert COST == app.spent(user)


def test_a_gate_of_the_other_kind_is_refused(app: App) -> None:
    """A blocking gate would stop an event loop."""
    with pytest.raises(TypeError, match="needs a gate"):
        wrap(app.bare_openai, app.reader if app.awaits else object())  # type: ignore[arg-type]


@pytest.mark.parametrize("client", [None, object(), "openai", Spendgate])
def test_what_is_no_client_is_refused(client: object) -> None:
    """A typing error is told where it was made."""
    with pytest.raises(TypeError, match="no client of openai or anthropic"):
        wrap(client)
