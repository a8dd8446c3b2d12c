"""What an LLM call used, in tokens. The sidecar knows the prices."""

from dataclasses import dataclass
from typing import Any

COUNTS = (
    *("cache_read_tokens", "cache_write_tokens", "reasoning_tokens"),
    *("cache_write_1h_tokens", "input_audio_tokens", "output_audio_tokens", "web_searches"),
)


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call, or what is known of them before it is made.

    `input_tokens` excludes cache tokens. What costs more with some models is told apart and counted in its whole as
    well: reasoning and audio in the output, audio in the input, what is cached for an hour in `cache_write_tokens`.
    `web_searches` are those that the provider made. Before a call the output is not known: leave it None and give
    `max_output_tokens` (a bound) and/or `estimate` (``max_tokens``, ``p95`` or ``worst_case``: how the sidecar guesses;
    by default as the workspace says). A settle needs `output_tokens`.
    """

    model: str
    provider: str | None = None
    input_tokens: int = 0
    output_tokens: int | None = None
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    max_output_tokens: int | None = None
    estimate: str | None = None
    cache_write_1h_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    web_searches: int = 0

    def as_fields(self, *, actual: bool) -> dict[str, Any]:
        """Return the `usage` of a request; of an actual one, which says nothing of bounds and estimates.

        Raises `ValueError` for an actual usage without `output_tokens`.
        """
        if actual and self.output_tokens is None:
            raise ValueError("the usage of a call that was made needs output_tokens")
        fields: dict[str, Any] = {"model": self.model, "input_tokens": self.input_tokens}
        if self.provider is not None:
            fields["provider"] = self.provider
        if self.output_tokens is not None:
            fields["output_tokens"] = self.output_tokens
        fields |= {name: getattr(self, name) for name in COUNTS if getattr(self, name)}
        if not actual:
            bounds = {"max_output_tokens": self.max_output_tokens, "estimate": self.estimate}
            fields |= {name: value for name, value in bounds.items() if value is not None}
        return fields
