"""The price book: token usage to nano-USD, in integers. An unknown model is a state of its own, never a silent zero."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

TOKENS_PER_MILLION: Final = 1_000_000
MAX_TOKENS: Final = 1_000_000_000
SEPARATOR: Final = "\x1c"
"""No name can contain it, so no two usages share a canonical text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens of one LLM call. `input_tokens` excludes cache tokens; `output_tokens` includes reasoning tokens."""

    model: str
    provider: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def canonical(self) -> str:
        """The text that decides whether two requests sent the same usage."""
        return SEPARATOR.join(
            str(part)
            for part in (
                "usage",
                self.provider or "",
                self.model,
                self.input_tokens,
                self.output_tokens,
                self.cache_read_tokens,
                self.cache_write_tokens,
                self.reasoning_tokens,
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Nano-USD for a million tokens of each kind."""

    input_nanos: int
    output_nanos: int
    cache_read_nanos: int
    cache_write_nanos: int

    def cost_nanos(self, usage: Usage) -> int:
        """Return the cost rounded up to a whole nano-USD, so that no estimate is ever short."""
        total = (
            usage.input_tokens * self.input_nanos
            + usage.output_tokens * self.output_nanos
            + usage.cache_read_tokens * self.cache_read_nanos
            + usage.cache_write_tokens * self.cache_write_nanos
        )
        return -(-total // TOKENS_PER_MILLION)


@dataclass(frozen=True, slots=True)
class PriceBook:
    """Prices by (provider, model); a price without a provider serves every provider."""

    prices: Mapping[tuple[str | None, str], Price] = field(default_factory=lambda: MappingProxyType({}))

    def cost_nanos(self, usage: Usage) -> int | None:
        """Return the cost of a usage, or None if its model has no price here."""
        price = self.prices.get((usage.provider, usage.model)) or self.prices.get((None, usage.model))
        return None if price is None else price.cost_nanos(usage)


NO_PRICES: Final = PriceBook()
