"""What the providers report as used, read into a `Usage`: of a JSON document or of the provider's own object.

OpenAI's prompt and input tokens include those read from and written to the cache; Anthropic's do not, and `Usage` does
not either. Output tokens include reasoning tokens everywhere. Where a provider calls a model several times for one
answer and lists the calls as ``iterations``, those are summed: Anthropic leaves some of them, such as compactions, out
of its totals.
"""

from collections.abc import Callable, Mapping
from typing import Any

from spendgate.usage import Usage

ReadUsage = Callable[[str, str | None, Any], Usage | None]
"""Model, provider and what was reported -> tokens, or None where nothing was reported."""


def field(source: Any, name: str) -> Any:
    """Return a field of a document or an attribute of an object; None where it is missing."""
    return source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)


def openai_usage(model: str, provider: str | None, reported: Any) -> Usage | None:
    """Read chat completions, completions and embeddings (``prompt_tokens``) and responses (``input_tokens``)."""
    if reported is None:
        return None
    chat = field(reported, "prompt_tokens") is not None
    names = ("prompt_tokens", "completion_tokens") if chat else ("input_tokens", "output_tokens")
    if _tokens(reported, names[0]) is None:
        return None
    read = field(reported, f"{names[0]}_details")
    written = field(reported, f"{names[1]}_details")
    cached, stored = _count(read, "cached_tokens"), _count(read, "cache_write_tokens")
    uncached = max(0, _count(reported, names[0]) - cached - stored)
    output = _count(reported, names[1])
    reasoning = min(output, _count(written, "reasoning_tokens"))
    return Usage(
        model=model,
        provider=provider,
        input_tokens=uncached,
        output_tokens=output,
        cache_read_tokens=cached,
        cache_write_tokens=stored,
        reasoning_tokens=reasoning,
        input_audio_tokens=min(uncached, _count(read, "audio_tokens")),
        output_audio_tokens=min(output - reasoning, _count(written, "audio_tokens")),
    )


def anthropic_usage(model: str, provider: str | None, reported: Any) -> Usage | None:
    """Read messages; None unless the output is known."""
    if reported is None or _tokens(reported, "output_tokens") is None:
        return None
    written, output_tokens = _total(reported, "cache_creation_input_tokens"), _total(reported, "output_tokens")
    kept_an_hour = _count(field(reported, "cache_creation"), "ephemeral_1h_input_tokens")
    return Usage(
        model=model,
        provider=provider,
        input_tokens=_total(reported, "input_tokens"),
        output_tokens=output_tokens,
        cache_read_tokens=_total(reported, "cache_read_input_tokens"),
        cache_write_tokens=written,
        reasoning_tokens=min(_count(field(reported, "output_tokens_details"), "thinking_tokens"), output_tokens),
        cache_write_1h_tokens=min(kept_an_hour, written),
        web_searches=_count(field(reported, "server_tool_use"), "web_search_requests"),
    )


def _total(reported: Any, name: str) -> int:
    """Return the total of a token class, or the sum over its iterations where that is more."""
    calls = field(reported, "iterations")
    listed = sum(_count(call, name) for call in calls) if isinstance(calls, list | tuple) else 0
    return max(_count(reported, name), listed)


def _count(source: Any, name: str) -> int:
    return (None if source is None else _tokens(source, name)) or 0


def _tokens(source: Any, name: str) -> int | None:
    """Return a number of tokens; None for what is none, so that a strange server cannot break a call."""
    value = field(source, name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
