"""Which requests of the providers' clients are budgeted, and how each is read.

Every method of the clients that ends in one of these paths is covered, whatever it is called: ``create``, ``parse``,
``stream``, ``with_raw_response``, ``with_streaming_response``, those under ``beta``, and ``client.post`` itself.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from spendgate.providers.stream_usage import TakeEvent, take_chat_chunk, take_message_event, take_response_event
from spendgate.providers.usages import ReadUsage, anthropic_usage, openai_usage

PATH: Final = re.compile(
    r"(?:https?://\S*)?/?(?:v1/)?(?P<name>chat/completions|completions|responses|responses/compact|embeddings|messages)/?"
)
PAID: Final = re.compile(
    r"(?:https?://\S*)?/?(?:v1/)?(?P<name>images|audio|videos|realtime|batches|messages/batches|threads|fine_tuning|decisions)\b"
)
"""What costs money and is not budgeted: said once in the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One kind of request. `parts` are the fields that a model reads, `limits` those that bound its output.

    `asks_for_usage`: a stream carries usage only when asked for (``stream_options.include_usage``).
    """

    name: str
    parts: tuple[str, ...]
    limits: tuple[str, ...] = ()
    read_usage: ReadUsage = openai_usage
    take_event: TakeEvent = take_chat_chunk
    asks_for_usage: bool = False
    has_output: bool = True


ENDPOINTS: Final[Mapping[str, Endpoint]] = {
    "chat/completions": Endpoint(
        name="chat.completions",
        parts=("messages", "tools", "functions", "response_format", "prediction"),
        limits=("max_completion_tokens", "max_tokens"),
        asks_for_usage=True,
    ),
    "completions": Endpoint(
        name="completions", parts=("prompt", "suffix"), limits=("max_tokens",), asks_for_usage=True
    ),
    "responses": Endpoint(
        name="responses",
        parts=("input", "instructions", "tools", "text", "prompt"),
        limits=("max_output_tokens",),
        take_event=take_response_event,
    ),
    "responses/compact": Endpoint(name="responses.compact", parts=("input", "instructions")),
    "embeddings": Endpoint(name="embeddings", parts=("input",), has_output=False),
    "messages": Endpoint(
        name="messages",
        parts=("messages", "system", "tools"),
        limits=("max_tokens",),
        read_usage=anthropic_usage,
        take_event=take_message_event,
    ),
}


def endpoint_of(path: str) -> Endpoint | None:
    """Return how a request to `path` is budgeted; None for what is not."""
    found = PATH.fullmatch(_without_query(path))
    return None if found is None else ENDPOINTS[found["name"]]


def unbudgeted(path: str) -> str | None:
    """Return the name of a request that costs money and is not budgeted."""
    found = PAID.match(_without_query(path))
    return None if found is None else found["name"]


def _without_query(path: str) -> str:
    return path.partition("?")[0]
