"""What a stream used, gathered from its events as they pass: reported tokens if they came, else what was streamed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from spendgate.providers.tokens import CountTokens, text_of
from spendgate.providers.usages import ReadUsage
from spendgate.usage import Usage

NO_TEXT: Final = frozenset({"type", "role", "id", "index", "status", "object", "signature", "citation"})


@dataclass(slots=True)
class StreamUsage:
    """The account of one stream.

    `reported` is the provider's final account; `begun` what it said of the input when the stream began (Anthropic);
    `texts` and `deltas` are what was streamed. `model` is the model that answers.
    """

    reported: Any = None
    begun: Any = None
    model: str | None = None
    texts: list[str] = field(default_factory=list)
    deltas: int = 0

    def add(self, delta: Any) -> None:
        """Count a piece of output."""
        if isinstance(delta, Mapping):
            delta = {name: value for name, value in delta.items() if name not in NO_TEXT}
        found = [text for text in text_of(delta) if text]
        self.texts += found
        self.deltas += bool(found)

    def usage(self, read: ReadUsage, estimate: Usage) -> Usage | None:
        """Return what the provider reported; None if it did not come."""
        return read(estimate.model, estimate.provider, self.reported)

    def streamed(self, read: ReadUsage, estimate: Usage, count: CountTokens) -> Usage | None:
        """Return what was streamed, with the input as reported at the beginning, else as estimated.

        None if nothing was streamed. Every delta is at least one token; no stream passes the request's own bound.
        """
        if not self.deltas:
            return None
        output_tokens = max(self.deltas, count("".join(self.texts)))
        if estimate.max_output_tokens is not None:
            output_tokens = min(output_tokens, estimate.max_output_tokens)
        begun = read(estimate.model, estimate.provider, self.begun)
        if begun is not None:
            return replace(begun, output_tokens=max(output_tokens, begun.output_tokens or 0))
        return replace(estimate, output_tokens=output_tokens, max_output_tokens=None, estimate=None)


TakeEvent = Callable[[StreamUsage, Mapping[str, Any]], None]


def take_chat_chunk(account: StreamUsage, chunk: Mapping[str, Any]) -> None:
    """Read a chunk of chat completions or completions; usage comes in the last one, without choices."""
    account.model = chunk.get("model") or account.model
    account.reported = chunk.get("usage") or account.reported
    for choice in _items(chunk.get("choices")):
        account.add(choice.get("delta", choice.get("text")))


def take_response_event(account: StreamUsage, event: Mapping[str, Any]) -> None:
    """Read an event of the Responses API; usage comes with the last one, however the response ended."""
    response = event.get("response")
    if isinstance(response, Mapping):
        account.model = response.get("model") or account.model
        account.reported = response.get("usage") or account.reported
    kind = event.get("type")
    if isinstance(kind, str) and kind.endswith(".delta"):
        account.add(event.get("delta"))


def take_message_event(account: StreamUsage, event: Mapping[str, Any]) -> None:
    """Read an event of Anthropic's messages: the input comes first, the running totals with each ``message_delta``."""
    match event.get("type"):
        case "message_start":
            message = event.get("message")
            if isinstance(message, Mapping):
                account.begun, account.model = message.get("usage"), message.get("model")
        case "message_delta":
            begun = account.begun if isinstance(account.begun, Mapping) else {}
            totals = event.get("usage")
            if isinstance(totals, Mapping):
                account.reported = {**begun, **{name: value for name, value in totals.items() if value is not None}}
        case "content_block_delta":
            account.add(event.get("delta"))


def _items(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
