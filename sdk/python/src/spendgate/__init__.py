"""Spendgate stops LLM overspend before it happens: ask the sidecar before a call, tell it what the call did cost."""

from spendgate.amounts import Amount
from spendgate.async_client import AsyncSpendgate
from spendgate.async_hold import AsyncHold
from spendgate.budget_warning import BudgetWarning
from spendgate.client import Spendgate
from spendgate.decisions import Budget, Decision, Settlement, UserUsage, WarningDetail, WindowUsage
from spendgate.errors import (
    InvalidAmountError,
    LLMBudgetExceededError,
    SpendgateError,
    SpendgateRequestError,
    SpendgateUnavailableError,
)
from spendgate.hold import Hold
from spendgate.usage import Usage

__version__ = "0.1.0"

__all__ = [
    "Amount",
    "AsyncHold",
    "AsyncSpendgate",
    "Budget",
    "BudgetWarning",
    "Decision",
    "Hold",
    "InvalidAmountError",
    "LLMBudgetExceededError",
    "Settlement",
    "Spendgate",
    "SpendgateError",
    "SpendgateRequestError",
    "SpendgateUnavailableError",
    "Usage",
    "UserUsage",
    "WarningDetail",
    "WindowUsage",
    "__version__",
]
