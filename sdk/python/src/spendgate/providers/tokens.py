"""How many tokens a request will be, before it is made, without a tokenizer: by the size of its text.

`typical_tokens` counts a token for every two bytes of UTF-8. Against OpenAI's ``cl100k_base`` that was above the truth
for prose in ten languages (2.3 to 4.7 bytes a token), source code (4.2) and HTML (3.7), and below it for what is no
language: numbers in JSON (1.9), hexadecimal (1.8), UUIDs (1.6), base64 (1.4). `most_tokens` counts every byte: a byte
pair encoding over bytes, as both providers use, never makes more tokens than that.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

CountTokens = Callable[[str], int]
"""A tokenizer: the number of tokens of a text."""

TYPICAL_BYTES: Final = 2
STRUCTURE_TOKENS: Final = 8
"""For each object of a request: the role, the separators and the names around its text."""

TOOLS_TOKENS: Final = 700
"""What the providers add once when tools are given; Anthropic documents up to some 700 for its models."""

IMAGE_TOKENS: Final = 4_800
"""One image. OpenAI bills at most 1,536 patches times 2.46, Anthropic at most 4,784. Tiles of gpt-4o-mini cost more."""

FILE_TOKENS: Final = 10_000
"""One document or recording, whose size in tokens its bytes do not tell."""

ATTACHMENTS: Final[Mapping[str, int]] = {
    "image": IMAGE_TOKENS,
    "image_url": IMAGE_TOKENS,
    "input_image": IMAGE_TOKENS,
    "computer_screenshot": IMAGE_TOKENS,
    "file": FILE_TOKENS,
    "input_file": FILE_TOKENS,
    "document": FILE_TOKENS,
    "input_audio": FILE_TOKENS,
}


def typical_tokens(text: str) -> int:
    """Return an estimate that is above the truth for what people write."""
    return -(-len(text.encode(errors="surrogatepass")) // TYPICAL_BYTES)


def most_tokens(text: str) -> int:
    """Return a bound: no text has more tokens than bytes."""
    return len(text.encode(errors="surrogatepass"))


def request_tokens(parts: Mapping[str, Any], count: CountTokens) -> int:
    """Return the estimate for the parts of a request that a model reads: its messages, its tools, its instructions."""
    texts: list[str] = []
    tokens = TOOLS_TOKENS if parts.get("tools") or parts.get("functions") else 0
    tokens += sum(_walk(part, texts) for part in parts.values())
    return tokens + count("\n".join(texts))


def _walk(part: Any, texts: list[str]) -> int:
    """Collect the texts of a part, and return the tokens of what is no text."""
    if isinstance(part, str):
        texts.append(part)
        return 0
    if isinstance(part, Mapping):
        return _walk_object(part, texts)
    if isinstance(part, list | tuple):
        return sum(_walk(item, texts) for item in part)
    fields = _fields(part)
    if fields is not None:
        return _walk_object(fields, texts)
    return 0 if part is None else STRUCTURE_TOKENS


def _walk_object(fields: Mapping[Any, Any], texts: list[str]) -> int:
    kind = fields.get("type")
    attached = ATTACHMENTS.get(kind, 0) if isinstance(kind, str) else 0
    if attached and not _is_text(fields.get("source")):
        return attached
    texts.extend(name for name in fields if isinstance(name, str))
    return STRUCTURE_TOKENS + sum(_walk(value, texts) for value in fields.values())


def _is_text(source: Any) -> bool:
    """Tell whether a document carries its text with it, so that it can be counted."""
    return isinstance(source, Mapping) and source.get("type") in ("text", "content")


def _fields(part: Any) -> Mapping[str, Any] | None:
    """Return the fields of a provider's own object, such as an answer that is sent back as history."""
    dump = getattr(part, "model_dump", None)
    if dump is None or isinstance(part, type):
        return None
    fields = dump()
    return fields if isinstance(fields, Mapping) else None


def text_of(value: Any) -> Iterator[str]:
    """Yield every text in a document that a stream delivered."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from text_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from text_of(item)


def json_text(value: Any) -> str:
    """Return compact JSON, for what is counted as the provider will see it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str)
