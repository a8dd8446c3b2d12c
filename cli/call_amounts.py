"""What a replayed call says of its cost: an amount that was computed here, or the tokens of a model."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from cli.trace import TraceCall
from ledger.money import usd_text

TOKENS_PER_MILLION: Final = 1_000_000

Fields = dict[str, Any]


class CallAmounts(Protocol):
    """The fields of a call's reserve and settle that say what it costs."""

    def reserve(self, request_id: str, call: TraceCall) -> Fields:
        """Return what is said before the call."""
        ...

    def settle(self, request_id: str, call: TraceCall) -> Fields:
        """Return what is said after it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPrices:
    """Prices in nano-USD for a million tokens."""

    input_nanos: int
    output_nanos: int

    def cost_nanos(self, prompt_tokens: int, generated_tokens: int) -> int:
        """Return the cost of a call in nano-USD, rounded up."""
        return -(-(prompt_tokens * self.input_nanos + generated_tokens * self.output_nanos) // TOKENS_PER_MILLION)


@dataclass(frozen=True, slots=True)
class PricedAmounts:
    """Amounts computed here."""

    prices: TokenPrices
    max_output_tokens: int

    def reserve(self, request_id: str, call: TraceCall) -> Fields:  # noqa: ARG002 - of the protocol
        """Return the estimate."""
        return {"estimate_usd": usd_text(self.prices.cost_nanos(call.prompt_tokens, self.max_output_tokens))}

    def settle(self, request_id: str, call: TraceCall) -> Fields:  # noqa: ARG002 - of the protocol
        """Return the cost."""
        return {"cost_usd": usd_text(self.prices.cost_nanos(call.prompt_tokens, call.generated_tokens))}


@dataclass(frozen=True, slots=True)
class ModelAmounts:
    """Tokens of models, which the sidecar prices. A request id has one model, whenever it is asked."""

    models: Sequence[str]
    max_output_tokens: int

    def reserve(self, request_id: str, call: TraceCall) -> Fields:
        """Return what the call asks for."""
        return {"usage": {**self._usage(request_id, call), "max_output_tokens": self.max_output_tokens}}

    def settle(self, request_id: str, call: TraceCall) -> Fields:
        """Return what it used."""
        return {"usage": {**self._usage(request_id, call), "output_tokens": call.generated_tokens}}

    def _usage(self, request_id: str, call: TraceCall) -> Fields:
        model = self.models[zlib.crc32(request_id.encode()) % len(self.models)]
        return {"model": model, "input_tokens": call.prompt_tokens}
