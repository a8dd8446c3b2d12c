"""Rates: what a token costs, as integers that lose nothing, and the sums made of them.

A rate is in atto-USD (10^-18 USD) for a million tokens: the published prices have up to 18 decimals of a USD for a
million tokens, among them such as 0.0375 USD, which is less than a whole nano-USD a token.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ledger.usage import PARTS, Usage

RATE_DECIMALS: Final = 18
TOKENS_A_RATE: Final = 1_000_000
ATTOS_A_NANO: Final = 10**9
RATES_A_NANO: Final = TOKENS_A_RATE * ATTOS_A_NANO
"""A sum of tokens times rates is divided by this, and rounded up, for nano-USD."""

PER_MILLION: Final = "_usd_per_million"
TOKEN_RATES: Final[Mapping[str, str]] = {
    "input_tokens": "input_usd_per_million",
    "output_tokens": "output_usd_per_million",
    "cache_read_tokens": "cache_read_usd_per_million",
    "cache_write_tokens": "cache_write_usd_per_million",
    **{part: part.removesuffix("_tokens") + PER_MILLION for part in PARTS},
}
"""For each kind of tokens of a usage the field of a price's document."""
UNIT_RATES: Final[Mapping[str, str]] = {"requests": "request_usd", "web_searches": "web_search_usd"}
"""What is paid apiece. A call is one request."""
RATE_FIELDS: Final[Mapping[str, str]] = {**TOKEN_RATES, **UNIT_RATES}

CACHED_KINDS: Final[Mapping[str, str]] = {
    "cache_audio_read_tokens": "input_audio_tokens",
    "cache_image_read_tokens": "input_image_tokens",
}

Rates = Mapping[str, int]
"""Rates by what they are for, the keys of `RATE_FIELDS`; those that are not stated are missing."""


@dataclass(frozen=True, slots=True)
class Tier:
    """Rates of prompts with more than so many tokens, caches included; all tokens of such a call cost that."""

    above_input_tokens: int
    rates: Rates


@dataclass(frozen=True, slots=True)
class Schedule:
    """A price with its context-length tiers, in ascending order. What a tier does not state is as below it."""

    rates: Rates
    tiers: tuple[Tier, ...] = ()

    def compiled(self) -> "tuple[Row, ...]":
        """Return the rows of the price, the one for the longest prompts first; the last is for all."""
        rates = dict(self.rates)
        rows = [_row(-1, rates)]
        for tier in self.tiers:
            rates |= tier.rates
            rows.append(_row(tier.above_input_tokens, rates))
        return tuple(reversed(rows))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The rates of one context-length tier, ready to multiply. `parts` have the difference to their whole's rate."""

    above_input_tokens: int
    input_rate: int
    output_rate: int | None
    cache_read_rate: int
    cache_write_rate: int
    fee: int
    parts: tuple[tuple[str, int], ...]

    def total(self, usage: Usage, output_tokens: int) -> int | None:
        """Return what a usage costs, in rates times tokens; None if it has output and there is no rate for that."""
        output_rate = self.output_rate
        if output_rate is None:
            if output_tokens:
                return None
            output_rate = 0
        total = (
            self.fee
            + usage.input_tokens * self.input_rate
            + output_tokens * output_rate
            + usage.cache_read_tokens * self.cache_read_rate
            + usage.cache_write_tokens * self.cache_write_rate
        )
        for name, difference in self.parts:
            total += getattr(usage, name) * difference
        return total

    def worst_total(self, usage: Usage, output_tokens: int) -> int | None:
        """Return what the tokens cost if each were of the dearest kind of its side; None as for `total`."""
        if self.output_rate is None and output_tokens:
            return None
        input_rate, output_rate = self._dearest(INPUT_SIDE), self._dearest(OUTPUT_SIDE)
        searches = sum(usage.web_searches * rate for name, rate in self.parts if name == "web_searches")
        return self.fee + usage.all_input_tokens * input_rate + output_tokens * output_rate + searches

    def _dearest(self, side: Sequence[str]) -> int:
        whole_rates = {
            "input_tokens": self.input_rate,
            "output_tokens": self.output_rate or 0,
            "cache_read_tokens": self.cache_read_rate,
            "cache_write_tokens": self.cache_write_rate,
        }
        parts = [whole_rates[PARTS[name]] + difference for name, difference in self.parts if PARTS.get(name) in side]
        return max(*(whole_rates[name] for name in side), *parts, 0)


INPUT_SIDE: Final = ("input_tokens", "cache_read_tokens", "cache_write_tokens")
OUTPUT_SIDE: Final = ("output_tokens",)


def nanos_of(total: int) -> int:
    """Return the nano-USD of rates times tokens, rounded up, so that no price is ever short."""
    return -(-total // RATES_A_NANO)


def _uncached(rates: Rates) -> Rates:
    """Return what cached tokens of a kind cost where no cache is paid for: what such tokens cost anyway."""
    return {cached: rates[kind] for cached, kind in CACHED_KINDS.items() if kind in rates}


def _row(above_input_tokens: int, rates: Rates) -> Row:
    input_rate = rates.get("input_tokens", 0)
    output_rate = rates.get("output_tokens")
    wholes = {
        "input_tokens": input_rate,
        "output_tokens": output_rate or 0,
        "cache_read_tokens": rates.get("cache_read_tokens", input_rate),
        "cache_write_tokens": rates.get("cache_write_tokens", input_rate),
    }
    stated = rates if "cache_read_tokens" in rates else {**_uncached(rates), **rates}
    parts = [(part, stated[part] - wholes[whole]) for part, whole in PARTS.items() if part in stated]
    if "web_searches" in rates:
        parts.append(("web_searches", rates["web_searches"]))
    return Row(
        above_input_tokens=above_input_tokens,
        input_rate=input_rate,
        output_rate=output_rate,
        cache_read_rate=wholes["cache_read_tokens"],
        cache_write_rate=wholes["cache_write_tokens"],
        fee=rates.get("requests", 0),
        parts=tuple(parts),
    )
