"""Streams: event for event those of the bare client, charged by the reported usage or by what was streamed."""

import asyncio
import time
from decimal import Decimal
from typing import Any

import pytest

from tests.sdk.providers.test_calls import COST, RESPONSE, _method
from tests.support.fake_provider import FakeProvider, Fault
from tests.support.provider_apps import CHAT, App
from tests.support.sdk_gates import DEADLINE_S

ESTIMATED_INPUT = 27
"""Tokens that are estimated for `CHAT` by OpenAI's fields."""

STREAMS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "chat": ("openai", "chat.completions.create", CHAT),
    "completion": ("openai", "completions.create", {"model": "fake-model", "prompt": "Say it.", "max_tokens": 10}),
    "response": ("openai", "responses.create", RESPONSE),
    "message": ("anthropic", "messages.create", CHAT),
}
HELPERS: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "chat": ("openai", "chat.completions.stream", CHAT, "get_final_completion"),
    "response": ("openai", "responses.stream", RESPONSE, "get_final_response"),
    "message": ("anthropic", "messages.stream", CHAT, "get_final_message"),
}


def _stream(app: App, client: Any, call: str, **more: Any) -> Any:
    _, path, params = STREAMS[call]
    return app.do(_method(client, path)(**params | more, stream=True))


def _client(app: App, call: str, user: str | None) -> Any:
    package = STREAMS[call][0]
    return getattr(app, f"bare_{package}") if user is None else getattr(app, package)(user)


@pytest.mark.parametrize("call", STREAMS)
def test_a_stream_passes_event_for_event(app: App, user: str, call: str) -> None:
    """The reader sees what it would see without a budget: the usage that we asked for is hidden again."""
    streams = [_stream(app, _client(app, call, who), call) for who in (user, None)]
    wrapped, bare = ([event.model_dump() for event in app.read(stream)] for stream in streams)

    assert bare == wrapped
    assert type(streams[1]) is type(streams[0])
    assert (COST, 0) == (app.spent(user), app.held(user))


@pytest.mark.parametrize("call", ["response", "message"])
def test_a_stream_passes_byte_for_byte(app: App, user: str, call: str) -> None:
    """Not one byte of a stream is changed where its usage comes unasked."""
    bodies = []
    for who in (user, None):
        _, path, params = STREAMS[call]
        resource, _, name = path.rpartition(".")
        raw = _method(_client(app, call, who), resource).with_streaming_response
        with app.entered(getattr(raw, name)(**params, stream=True)) as response:
            bodies.append(b"".join(app.read(response.iter_bytes())))

    assert bodies[0] == bodies[1]
    assert COST == app.spent(user)


def test_lines_of_a_raw_stream_lack_only_the_usage(app: App, user: str) -> None:
    """Whoever reads OpenAI's stream as text does not find the event that only carries the usage, either."""
    manager = app.openai(user).chat.completions.with_streaming_response.create(**CHAT, stream=True)
    with app.entered(manager) as response:
        lines = app.read(response.iter_lines())

    assert ("data: [DONE]", 8) == (lines[-2], sum(line.startswith("data:") for line in lines))
    assert COST == app.spent(user)


def test_usage_that_was_asked_for_is_shown(app: App, user: str) -> None:
    """It comes as the last chunk, without choices."""
    stream = _stream(app, app.openai(user), "chat", stream_options={"include_usage": True})

    assert 27 == app.read(stream)[-1].usage.total_tokens
    assert COST == app.spent(user)


def test_usage_need_not_be_asked_for(app: App, provider: FakeProvider, user: str) -> None:
    """A server that knows no ``stream_options`` is sent none, and charged by what it streamed."""
    app.read(_stream(app, app.openai(user, include_usage=False), "chat"))

    assert "stream_options" not in provider.seen[0].body
    assert ESTIMATED_INPUT * Decimal("0.001") + Decimal("0.10") == app.spent(user)


@pytest.mark.parametrize("helper", HELPERS)
def test_stream_helpers_are_charged(app: App, user: str, helper: str) -> None:
    """Their managers make the call when they are entered."""
    package, path, params, final = HELPERS[helper]
    with app.entered(_method(getattr(app, package)(user), path)(**params)) as stream:
        answer = app.do(getattr(stream, final)())

    assert answer is not None
    assert COST == app.spent(user)


@pytest.mark.parametrize("call", STREAMS)
def test_a_broken_stream_is_charged_by_what_was_streamed(
    app: App, provider: FakeProvider, user: str, call: str
) -> None:
    """The provider made it, so it costs; its usage never came. Anthropic's input is known from the first event."""
    before = {"chat": 0, "completion": 0, "response": 3, "message": 3}[call]
    provider.faults.append(Fault(breaks_after=before + 3))
    stream = _stream(app, _client(app, call, user), call)
    error = None
    try:
        app.read(stream)
    except Exception as raised:
        error = raised

    inputs = {"chat": ESTIMATED_INPUT, "completion": 4, "response": 4, "message": 20}[call]
    assert error is not None
    assert inputs * Decimal("0.001") + Decimal("0.09") == app.spent(user)
    assert 0 == app.held(user)


@pytest.mark.parametrize("end", ["close", "drop"])
@pytest.mark.parametrize("call", ["chat", "message"])
def test_a_stream_that_its_reader_leaves_is_charged_by_what_was_streamed(
    app: App, user: str, call: str, end: str
) -> None:
    """Closed, or just let go: no collection of garbage is needed."""
    stream = _stream(app, _client(app, call, user), call)
    app.read(stream, 1 if call == "chat" else 4)
    if end == "close":
        app.do(stream.close())
    del stream

    assert 0 < _soon(app, user) < Decimal("0.15")
    assert 0 == app.held(user)


def _soon(app: App, user: str) -> Decimal:
    """Return what was spent, once an event loop had the time to end what was let go."""
    deadline = time.monotonic() + DEADLINE_S
    while not (spent := app.spent(user)) and time.monotonic() < deadline:
        app.do(_moment())
    return spent


async def _moment() -> None:
    await asyncio.sleep(0.01)


def test_a_stream_that_nobody_reads_keeps_its_estimate(app: App, user: str) -> None:
    """It is left to its expiry: whether the provider goes on without a reader is not known."""
    stream = _stream(app, app.openai(user), "chat")
    app.do(stream.close())

    assert 0 == app.spent(user)
    assert ESTIMATED_INPUT * Decimal("0.001") + Decimal("0.10") == app.held(user)


def test_a_broken_stream_of_a_model_that_thinks_unseen_keeps_its_estimate(
    app: App, provider: FakeProvider, user: str
) -> None:
    """What was streamed is not all that is billed."""
    stream = _stream(app, app.openai(user), "chat", model="gpt-5-fake")
    app.read(stream, 2)
    app.do(stream.close())

    assert 0 == app.spent(user)
    assert ESTIMATED_INPUT * Decimal("0.001") + Decimal("0.10") == app.held(user)
