"""The answers of a fake provider: documents and streams as OpenAI and Anthropic send them, with fixed usage."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

WORDS = ("Budgets", " hold", " under", " any", " load", ".")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """What the provider reports. `input` excludes the cached ones, `output` includes the reasoning."""

    input: int = 20
    cache_read: int = 0
    cache_write: int = 0
    output: int = 7
    reasoning: int = 0


class Answers:
    """Makes answers; `words` are the deltas of a stream. `reports_usage` is False for a server that tells none."""

    def __init__(self) -> None:
        self.tokens = Tokens()
        self.words = WORDS
        self.reports_usage = True

    def document(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the whole answer to a request."""
        makers = {
            "chat/completions": self._completion,
            "completions": self._text_completion,
            "responses": self._response,
            "embeddings": self._embedding,
            "messages": self._message,
        }
        document = makers[path](body)
        if not self.reports_usage:
            document.pop("usage", None)
        return document

    def stream(self, path: str, body: Mapping[str, Any]) -> Iterator[bytes]:
        """Yield the events of a stream as bytes."""
        streams = {
            "chat/completions": self._chunks,
            "completions": self._text_chunks,
            "responses": self._response_events,
            "messages": self._message_events,
        }
        return streams[path](body)

    def _chat_usage(self) -> dict[str, Any]:
        tokens = self.tokens
        prompt = tokens.input + tokens.cache_read + tokens.cache_write
        return {
            "prompt_tokens": prompt,
            "completion_tokens": tokens.output,
            "total_tokens": prompt + tokens.output,
            "prompt_tokens_details": {"cached_tokens": tokens.cache_read, "cache_write_tokens": tokens.cache_write},
            "completion_tokens_details": {"reasoning_tokens": tokens.reasoning},
        }

    def _completion(self, body: Mapping[str, Any]) -> dict[str, Any]:
        message = {"role": "assistant", "content": "".join(self.words), "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        return _chat(body, "chat.completion") | {"choices": [choice], "usage": self._chat_usage()}

    def _text_completion(self, body: Mapping[str, Any]) -> dict[str, Any]:
        choice = {"index": 0, "text": "".join(self.words), "finish_reason": "stop", "logprobs": None}
        return _chat(body, "text_completion") | {"choices": [choice], "usage": self._chat_usage()}

    def _chunks(self, body: Mapping[str, Any]) -> Iterator[bytes]:
        wants_usage = self.reports_usage and (body.get("stream_options") or {}).get("include_usage")
        chunk = _chat(body, "chat.completion.chunk") | ({"usage": None} if wants_usage else {})
        for index, word in enumerate(self.words):
            delta = {"content": word} | ({"role": "assistant"} if index == 0 else {})
            yield _data(chunk | {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        yield _data(chunk | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        if wants_usage:
            yield _data(chunk | {"choices": [], "usage": self._chat_usage()})
        yield b"data: [DONE]\n\n"

    def _text_chunks(self, body: Mapping[str, Any]) -> Iterator[bytes]:
        wants_usage = (body.get("stream_options") or {}).get("include_usage")
        chunk = _chat(body, "text_completion") | ({"usage": None} if wants_usage else {})
        for word in self.words:
            yield _data(chunk | {"choices": [{"index": 0, "text": word, "finish_reason": None, "logprobs": None}]})
        if wants_usage:
            yield _data(chunk | {"choices": [], "usage": self._chat_usage()})
        yield b"data: [DONE]\n\n"

    def _response(self, body: Mapping[str, Any]) -> dict[str, Any]:
        tokens = self.tokens
        content = {"type": "output_text", "text": "".join(self.words), "annotations": [], "logprobs": []}
        message = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [content]}
        prompt = tokens.input + tokens.cache_read + tokens.cache_write
        return {
            "id": "resp_1",
            "object": "response",
            "created_at": 1,
            "status": "completed",
            "model": body.get("model"),
            "output": [message],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "usage": {
                "input_tokens": prompt,
                "input_tokens_details": {"cached_tokens": tokens.cache_read, "cache_write_tokens": tokens.cache_write},
                "output_tokens": tokens.output,
                "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
                "total_tokens": prompt + tokens.output,
            },
        }

    def _response_events(self, body: Mapping[str, Any]) -> Iterator[bytes]:
        begun = self._response(body) | {"status": "in_progress", "output": [], "usage": None}
        place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
        item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "in_progress", "content": []}
        part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
        events: list[dict[str, Any]] = [
            {"type": "response.created", "response": begun},
            {"type": "response.output_item.added", "output_index": 0, "item": item},
            {"type": "response.content_part.added", **place, "part": part},
            *({"type": "response.output_text.delta", **place, "delta": word, "logprobs": []} for word in self.words),
            {"type": "response.completed", "response": self.document("responses", body)},
        ]
        for number, event in enumerate(events):
            yield _data(event | {"sequence_number": number}, event["type"])

    def _embedding(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "object": "list",
            "model": body.get("model"),
            "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -0.25]}],
            "usage": {"prompt_tokens": self.tokens.input, "total_tokens": self.tokens.input},
        }

    def _message(self, body: Mapping[str, Any]) -> dict[str, Any]:
        tokens = self.tokens
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": body.get("model"),
            "content": [{"type": "text", "text": "".join(self.words)}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": self._input_usage() | {"output_tokens": tokens.output},
        }

    def _input_usage(self) -> dict[str, Any]:
        return {
            "input_tokens": self.tokens.input,
            "cache_read_input_tokens": self.tokens.cache_read,
            "cache_creation_input_tokens": self.tokens.cache_write,
        }

    def _message_events(self, body: Mapping[str, Any]) -> Iterator[bytes]:
        begun = self._message(body) | {"content": [], "stop_reason": None}
        begun["usage"] = self._input_usage() | {"output_tokens": 1}
        events: list[dict[str, Any]] = [
            {"type": "message_start", "message": begun},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            {"type": "ping"},
            *(
                {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
                for word in self.words
            ),
            {"type": "content_block_stop", "index": 0},
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": self._input_usage() | {"output_tokens": self.tokens.output},
            },
            {"type": "message_stop"},
        ]
        for event in events:
            yield _data(event, event["type"])


def _chat(body: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": body.get("model")}


def _data(document: Mapping[str, Any], event: str | None = None) -> bytes:
    name = f"event: {event}\n" if event else ""
    return f"{name}data: {json.dumps(document)}\n\n".encode()
