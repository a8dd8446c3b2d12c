"""Budgets around the clients of ``openai`` and ``anthropic``. Neither package is needed to import this one."""

from spendgate.providers.acting import Payer, PayerUnknownError, acting_for
from spendgate.providers.tokens import CountTokens, most_tokens, typical_tokens
from spendgate.providers.tracked import tracked_call, tracked_stream
from spendgate.providers.wrapping import wrap

__all__ = [
    "CountTokens",
    "Payer",
    "PayerUnknownError",
    "acting_for",
    "most_tokens",
    "tracked_call",
    "tracked_stream",
    "typical_tokens",
    "wrap",
]
