"""What is read of the providers' requests, answers and streams, without their packages."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from spendgate import Usage
from spendgate.providers import most_tokens, typical_tokens
from spendgate.providers.endpoints import endpoint_of, unbudgeted
from spendgate.providers.outcomes import LeaveToExpiry, Outcome, Settle, outcome_of_answer
from spendgate.providers.requests import PricingNames, Request, read_request
from spendgate.providers.responses import watch
from spendgate.providers.sse import EventCutter
from spendgate.providers.taps import BodyTap, StreamTap
from spendgate.providers.tokens import FILE_TOKENS, IMAGE_TOKENS, TOOLS_TOKENS
from spendgate.providers.usages import anthropic_usage, openai_usage

NAMES = PricingNames(provider=None, models={"ours": "gpt-4o"})


def _request(path: str, body: Mapping[str, Any], **arguments: Any) -> Request:
    endpoint = endpoint_of(path)
    assert endpoint is not None
    return read_request(endpoint, {"body": body, **arguments}, NAMES, most_tokens, ask_for_usage=True)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/chat/completions", "chat.completions"),
        ("chat/completions", "chat.completions"),
        ("/v1/messages", "messages"),
        ("/v1/messages?beta=true", "messages"),
        ("https://example.com/proxy/v1/responses", "responses"),
        ("/responses/compact", "responses.compact"),
        ("/embeddings", "embeddings"),
        ("/completions", "completions"),
        ("/v1/messages/count_tokens", None),
        ("/responses/input_tokens", None),
        ("/responses/resp_1/cancel", None),
        ("/threads/thread_1/messages", None),
        ("/chat/completions/chatcmpl-1", None),
    ],
)
def test_paths_tell_what_is_budgeted(path: str, name: str | None) -> None:
    """Only requests that make a model work for what they report are budgeted."""
    endpoint = endpoint_of(path)

    assert name == (endpoint and endpoint.name)


@pytest.mark.parametrize(
    ("path", "name"),
    [("/images/generations", "images"), ("/v1/messages/batches", "messages/batches"), ("/files", None)],
)
def test_what_costs_money_and_is_not_budgeted_has_a_name(path: str, name: str | None) -> None:
    """The log says it."""
    assert name == unbudgeted(path)


def test_openai_counts_cached_tokens_within_its_input() -> None:
    """A `Usage` does not."""
    reported = {
        "prompt_tokens": 100,
        "completion_tokens": 9,
        "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
        "completion_tokens_details": {"reasoning_tokens": 4},
    }

    assert Usage("m", None, 10, 9, 60, 30, 4) == openai_usage("m", None, reported)


def test_parts_that_have_a_price_of_their_own_are_told_apart() -> None:
    """A part is never more than its whole, which a sidecar would refuse."""
    spoken = {
        "prompt_tokens": 50,
        "completion_tokens": 9,
        "prompt_tokens_details": {"cached_tokens": 45, "audio_tokens": 40},
        "completion_tokens_details": {"reasoning_tokens": 4, "audio_tokens": 7},
    }
    kept = {
        "input_tokens": 1,
        "output_tokens": 2,
        "cache_creation_input_tokens": 30,
        "cache_creation": {"ephemeral_1h_input_tokens": 20, "ephemeral_5m_input_tokens": 10},
        "server_tool_use": {"web_search_requests": 3},
    }

    heard, searched = openai_usage("m", None, spoken), anthropic_usage("m", None, kept)

    assert heard is not None
    assert searched is not None
    assert (5, 5, 4, 5) == (
        *(heard.input_tokens, heard.input_audio_tokens),
        *(heard.reasoning_tokens, heard.output_audio_tokens),
    )
    assert (30, 20, 3) == (searched.cache_write_tokens, searched.cache_write_1h_tokens, searched.web_searches)


def test_anthropic_leaves_compactions_out_of_its_totals() -> None:
    """The iterations tell them."""
    calls = [{"input_tokens": 10, "output_tokens": 3}, {"input_tokens": 500, "output_tokens": 40}]
    reported = {"input_tokens": 10, "output_tokens": 3, "cache_read_input_tokens": 7, "iterations": calls}

    assert Usage("m", None, 510, 43, 7) == anthropic_usage("m", None, reported)


@pytest.mark.parametrize("reported", [None, {}, {"prompt_tokens": None}, {"prompt_tokens": -1}, {"prompt_tokens": "1"}])
def test_what_is_no_usage_is_none(reported: Any) -> None:
    """A strange server breaks no call."""
    assert openai_usage("m", None, reported) is None
    assert anthropic_usage("m", None, reported) is None


@pytest.mark.parametrize(("text", "typical", "most"), [("", 0, 0), ("a", 1, 1), ("Hello", 3, 5), ("今天", 3, 6)])
def test_tokens_are_estimated_by_bytes(text: str, typical: int, most: int) -> None:
    """Two bytes a token, rounded up; one byte a token is the bound."""
    assert (typical, most) == (typical_tokens(text), most_tokens(text))


@pytest.mark.parametrize(
    ("part", "at_least", "at_most"),
    [
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}, IMAGE_TOKENS, 5_000),
        ({"type": "image", "source": {"type": "base64", "data": "A" * 100_000}}, IMAGE_TOKENS, 5_000),
        ({"type": "document", "source": {"type": "base64", "data": "A" * 100_000}}, FILE_TOKENS, 10_200),
        ({"type": "document", "source": {"type": "text", "data": "A" * 50_000}}, 50_000, 50_200),
    ],
)
def test_attachments_are_estimated_by_their_kind(part: dict[str, Any], at_least: int, at_most: int) -> None:
    """The bytes of an image say nothing of its tokens."""
    request = _request("/chat/completions", {"model": "m", "messages": [{"role": "user", "content": [part]}]})

    assert at_least <= request.estimate.input_tokens <= at_most


def test_tools_are_part_of_the_input() -> None:
    """Their schemas are read, and the providers add instructions of their own."""
    tools = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}]
    bare = _request("/chat/completions", {"model": "m", "messages": []}).estimate.input_tokens
    request = _request("/chat/completions", {"model": "m", "messages": [], "tools": tools})

    assert bare + TOOLS_TOKENS + 50 < request.estimate.input_tokens


@pytest.mark.parametrize(
    ("path", "fields", "bound"),
    [
        ("/chat/completions", {"max_tokens": 7}, 7),
        ("/chat/completions", {"max_completion_tokens": 9, "n": 3}, 27),
        ("/responses", {"max_output_tokens": 5}, 5),
        ("/v1/messages", {"max_tokens": 6}, 6),
        ("/chat/completions", {}, None),
    ],
)
def test_the_output_is_bounded_by_what_was_asked_for(path: str, fields: dict[str, Any], bound: int | None) -> None:
    """All choices together."""
    assert bound == _request(path, {"model": "m", **fields}).estimate.max_output_tokens


def test_the_body_that_is_sent_beside_the_arguments_counts() -> None:
    """``extra_body`` stands above the rest, as it does in the request."""
    request = _request("/chat/completions", {"model": "m"}, options={"extra_json": {"model": "ours", "max_tokens": 3}})

    assert ("gpt-4o", 3) == (request.estimate.model, request.estimate.max_output_tokens)


@pytest.mark.parametrize(
    ("fields", "hides"),
    [
        ({"model": "gpt-4o"}, False),
        ({"model": "o3-mini"}, True),
        ({"model": "openai/gpt-5-mini"}, True),
        ({"model": "gpt-5-mini", "reasoning_effort": "none"}, False),
        ({"model": "gpt-4o", "reasoning": {"effort": "low"}}, True),
        ({"model": "claude", "thinking": {"type": "enabled"}}, True),
        ({"model": "claude", "thinking": {"type": "disabled"}}, False),
    ],
)
def test_models_that_think_unseen_are_known(fields: dict[str, Any], hides: bool) -> None:
    """What they stream is not all that is billed."""
    assert hides is _request("/chat/completions", fields).hides_output


@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n", "\r\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_events_are_cut_wherever_the_chunks_end(end: str, size: int) -> None:
    """No byte is lost or doubled."""
    line = end[: len(end) // 2]
    stream = f"event: a{line}data: 1{line}data: 2{end}data:3{end}data: tail".encode()
    cutter = EventCutter()
    events = [event for at in range(0, len(stream), size) for event in cutter.feed(stream[at : at + size])]

    assert [b"1\n2", b"3"] == [event.data for event in events]
    assert stream == b"".join(event.raw for event in events) + cutter.flush()


@pytest.mark.parametrize("size", [1, 5, 64, 10_000])
def test_only_the_usage_is_left_out_of_a_stream(size: int) -> None:
    """Azure's first chunk has no choices either, but no usage."""
    body = {"model": "gpt-4o", "messages": [], "stream": True}
    first = b'data: {"choices": [], "prompt_filter_results": []}\n\n'
    word = b'data: {"choices": [{"delta": {"content": "Hi"}}], "usage": null}\n\n'
    usage = b'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}\n\n'
    stream = first + word + usage + b"data: [DONE]\n\n"
    request = _request("/chat/completions", body, stream=True)
    tap = StreamTap(request, most_tokens)
    passed = b"".join(tap.feed(stream[at : at + size]) for at in range(0, len(stream), size)) + tap.flush()

    assert {"include_usage": True} == request.body["stream_options"]
    assert first + word + b"data: [DONE]\n\n" == passed
    assert Settle(Usage("gpt-4o", None, 3, 1)) == tap.outcome()


def test_a_body_is_read_as_it_passes() -> None:
    """Cut anywhere, it is the same document."""
    document = json.dumps({"model": "m", "usage": {"prompt_tokens": 3, "completion_tokens": 1}}).encode()
    tap = BodyTap(_request("/chat/completions", {"model": "m"}))
    passed = tap.feed(document[:20]) + tap.feed(document[20:])

    assert (document, Settle(Usage("m", None, 3, 1))) == (passed, tap.outcome())


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ({"model": "real", "usage": {"input_tokens": 1, "output_tokens": 2}}, Settle(Usage("real", None, 1, 2))),
        ({"status": "queued", "usage": None}, LeaveToExpiry()),
    ],
)
def test_an_answer_names_the_model_that_a_request_did_not(answer: dict[str, Any], outcome: Outcome) -> None:
    """A stored prompt has its own. A response in the background has no usage yet."""
    assert outcome == outcome_of_answer(_request("/responses", {"prompt": {"id": "pmpt_1"}}), answer)


def test_the_input_of_a_message_may_be_told_at_its_beginning_only() -> None:
    """The totals that come later need not repeat it."""
    body = {"model": "claude", "messages": [], "stream": True}
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 5, "output_tokens": 1}}}
    totals = {"type": "message_delta", "usage": {"input_tokens": None, "output_tokens": 9}}
    tap = StreamTap(_request("/v1/messages", body, stream=True), most_tokens)
    for event in (start, totals):
        tap.feed(f"data: {json.dumps(event)}\n\n".encode())

    assert Settle(Usage("claude", None, 5, 9)) == tap.outcome()


class _Answer:
    """A response that ends itself before its decoder gives the rest, as compressed ones may."""

    def iter_bytes(self, chunk_size: int | None = None) -> Iterator[bytes]:
        yield b'{"usage": {"prompt_tokens": 3, '
        self.close()
        yield b'"completion_tokens": 1}}'

    def close(self) -> None:
        """End."""


def test_an_answer_is_concluded_once_and_after_its_last_byte() -> None:
    """However often it is closed, and however early."""
    outcomes: list[Outcome] = []
    answer = _Answer()
    watch(answer, BodyTap(_request("/chat/completions", {"model": "m"})), outcomes.append)
    body = b"".join(answer.iter_bytes())
    answer.close()

    assert isinstance(answer, _Answer)
    assert b'{"usage": {"prompt_tokens": 3, "completion_tokens": 1}}' == body
    assert [Settle(Usage("m", None, 3, 1))] == outcomes


def test_an_answer_that_is_closed_unread_is_left_to_its_expiry() -> None:
    """Its reader went away."""
    outcomes: list[Outcome] = []
    answer = _Answer()
    watch(answer, BodyTap(_request("/chat/completions", {"model": "m"})), outcomes.append)
    answer.close()

    assert [LeaveToExpiry()] == outcomes
