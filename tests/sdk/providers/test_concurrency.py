"""200 calls of one user at the same time, over the real packages, a real sidecar and a real store."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from spendgate import LLMBudgetExceededError
from spendgate.providers import most_tokens

from tests.sdk.providers.test_calls import _method
from tests.support.fake_provider import FakeProvider
from tests.support.fake_replies import Tokens
from tests.support.provider_apps import CHAT, App

CALLS = 200
LIMIT = Decimal(1)
"""Of the tier `tight`. Each call is estimated at 46 tokens of input and 10 of output, and costs 0.09 USD."""


def _one(client: Any, path: str, start: threading.Barrier | None = None) -> Any:
    if start is not None:
        start.wait()
    return _method(client, path)(**CHAT)


@pytest.mark.parametrize(("package", "path"), [("openai", "chat.completions.create"), ("anthropic", "messages.create")])
def test_many_calls_at_once_never_pass_a_limit(
    app: App, provider: FakeProvider, user: str, package: str, path: str
) -> None:
    """What reaches the provider is what the ledger admitted, and what it charged is what the provider made."""
    provider.answers.tokens = Tokens(input=20, output=7)
    client = getattr(app, package)(user, tier="tight", count_tokens=most_tokens)
    outcomes = app.do(_awaiting(client, path)) if app.awaits else _blocking(client, path)
    refused = [outcome for outcome in outcomes if isinstance(outcome, LLMBudgetExceededError)]
    admitted = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]

    assert CALLS == len(refused) + len(admitted), outcomes
    assert len(admitted) == len(provider.seen)
    assert 0 < len(admitted) <= 11
    assert len(admitted) * Decimal("0.09") == app.spent(user) <= LIMIT
    assert 0 == app.held(user)


def _blocking(client: Any, path: str) -> list[Any]:
    with ThreadPoolExecutor(CALLS) as pool:
        start = threading.Barrier(CALLS)
        futures = [pool.submit(_one, client, path, start) for _ in range(CALLS)]
        return [future.exception() or future.result() for future in futures]


async def _awaiting(client: Any, path: str) -> list[Any]:
    return await asyncio.gather(*(_one(client, path) for _ in range(CALLS)), return_exceptions=True)
