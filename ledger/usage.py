"""Usage: the tokens of one LLM call, as a caller tells them. `ledger.prices` says what they cost."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter
from typing import Final

MAX_TOKENS: Final = 1_000_000_000
SEPARATOR: Final = "\x1c"
"""No name can contain it, so no two usages share a canonical text."""

WHOLES: Final = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
PARTS: Final[Mapping[str, str]] = {
    "reasoning_tokens": "output_tokens",
    "output_audio_tokens": "output_tokens",
    "output_image_tokens": "output_tokens",
    "output_video_tokens": "output_tokens",
    "input_audio_tokens": "input_tokens",
    "input_image_tokens": "input_tokens",
    "input_video_tokens": "input_tokens",
    "cache_audio_read_tokens": "cache_read_tokens",
    "cache_image_read_tokens": "cache_read_tokens",
    "cache_write_1h_tokens": "cache_write_tokens",
}
"""Tokens that are counted in a whole already, and have a price of their own with some models."""
TOKEN_FIELDS: Final = (*WHOLES, *PARTS)
COUNT_FIELDS: Final = (*TOKEN_FIELDS, "web_searches")


class Estimate(StrEnum):
    """How the output of a call that has not been made is estimated; docs/prices.md tells the bound of each."""

    MAX_TOKENS = "max_tokens"
    P95 = "p95"
    WORST_CASE = "worst_case"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownOutput:
    """What a caller says instead of output tokens: the most that are asked for, and how to estimate them."""

    max_output_tokens: int | None = None
    estimate: Estimate | None = None


@dataclass(slots=True, kw_only=True)  # Frozen, it would take three times as long to make, for every call.
class Usage:
    """Tokens of one LLM call, not to be changed.

    `input_tokens` excludes cache tokens. The wholes include their parts, which are never more than they (`PARTS`):
    `output_tokens` includes reasoning tokens. With `unknown_output` the output tokens are not known yet.
    """

    model: str
    provider: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    output_audio_tokens: int = 0
    output_image_tokens: int = 0
    output_video_tokens: int = 0
    input_audio_tokens: int = 0
    input_image_tokens: int = 0
    input_video_tokens: int = 0
    cache_audio_read_tokens: int = 0
    cache_image_read_tokens: int = 0
    cache_write_1h_tokens: int = 0
    web_searches: int = 0
    unknown_output: UnknownOutput | None = None

    @property
    def all_input_tokens(self) -> int:
        """All tokens of the prompt, those of caches included: what context-length tiers look at."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_tokens

    @property
    def canonical(self) -> str:
        """The text that decides whether two requests sent the same usage."""
        unknown = self.unknown_output
        parts = [
            "usage",
            self.provider or "",
            self.model,
            str(self.input_tokens),
            str(self.output_tokens) if unknown is None else "",
            str(self.cache_read_tokens),
            str(self.cache_write_tokens),
            str(self.reasoning_tokens),
        ]
        if unknown is not None:
            parts.append(f"max={'' if unknown.max_output_tokens is None else unknown.max_output_tokens}")
            parts.append(f"estimate={unknown.estimate or ''}")
        rare = _rare_counts(self)
        if any(rare):
            parts += [f"{name}={count}" for name, count in zip(_RARE, rare, strict=True) if count]
        return SEPARATOR.join(parts)


_RARE: Final = tuple(name for name in COUNT_FIELDS if name not in {*WHOLES, "reasoning_tokens"})
_rare_counts: Final[Callable[[Usage], tuple[int, ...]]] = attrgetter(*_RARE)
