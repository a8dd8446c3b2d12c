"""An app that calls providers through wrapped clients, blocking or awaiting, told what to do in one way for both."""

import asyncio
import contextlib
import contextvars
import inspect
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import anthropic
import openai
from spendgate import AsyncSpendgate, Spendgate
from spendgate.providers import wrap

from tests.support.sdk_gates import TIMEOUT_S

MESSAGES = [{"role": "user", "content": "Say it in six words."}]
CHAT = {"model": "fake-model", "messages": MESSAGES, "max_tokens": 10}


class App:
    """Blocking: results are as they are. Awaiting: whatever must be awaited is, on a loop of its own."""

    def __init__(self, url: str, provider_url: str, journal_dir: str, *, awaits: bool) -> None:
        self._runner = asyncio.Runner() if awaits else None
        kind = AsyncSpendgate if awaits else Spendgate
        self.gate: Any = kind(url, journal_dir=journal_dir, timeout_s=TIMEOUT_S)
        openai_kind, anthropic_kind = (
            (openai.AsyncOpenAI, anthropic.AsyncAnthropic) if awaits else (openai.OpenAI, anthropic.Anthropic)
        )
        self.bare_openai = openai_kind(api_key="none", base_url=f"{provider_url}/v1")
        self.bare_anthropic = anthropic_kind(api_key="none", base_url=provider_url)
        self.reader = Spendgate(url, journal_dir=journal_dir, timeout_s=TIMEOUT_S)

    @property
    def awaits(self) -> bool:
        """It runs on an event loop."""
        return self._runner is not None

    def openai(self, user: str, **terms: Any) -> Any:
        """Return a wrapped client of OpenAI's."""
        return wrap(self.bare_openai, self.gate, user_id=user, **terms)

    def anthropic(self, user: str, **terms: Any) -> Any:
        """Return a wrapped client of Anthropic's."""
        return wrap(self.bare_anthropic, self.gate, user_id=user, **terms)

    def do(self, result: Any) -> Any:
        """Return a result, awaited if need be."""
        if self._runner is None or not inspect.isawaitable(result):
            return result
        return self._runner.run(_awaited(result), context=contextvars.copy_context())

    def read(self, stream: Any, count: int | None = None) -> list[Any]:
        """Read a stream to its end, or the first `count` of what it gives."""
        if self._runner is None:
            return _first(stream, count)
        return self._runner.run(_first_awaited(stream, count))

    @contextlib.contextmanager
    def entered(self, manager: Any) -> Iterator[Any]:
        """Enter a context manager of either kind."""
        awaits = hasattr(manager, "__aenter__")
        yield self.do(manager.__aenter__() if awaits else manager.__enter__())
        self.do(manager.__aexit__(None, None, None) if awaits else manager.__exit__(None, None, None))

    def spent(self, user: str) -> Decimal:
        """Return what the ledger says that a user spent."""
        return self.reader.usage(user, tier="roomy").windows[0].spend_usd

    def held(self, user: str) -> Decimal:
        """Return what the ledger holds of a user's budget."""
        return self.reader.usage(user, tier="roomy").windows[0].held_usd

    def close(self) -> None:
        """End every connection and the loop."""
        for client in (self.bare_openai, self.bare_anthropic, self.gate):
            self.do(client.close())
        if self._runner is not None:
            self._runner.close()
        self.reader.close()


async def _awaited(result: Any) -> Any:
    return await result


def _first(stream: Any, count: int | None) -> list[Any]:
    items = []
    if count != 0:
        for item in stream:
            items.append(item)
            if len(items) == count:
                break
    return items


async def _first_awaited(stream: Any, count: int | None) -> list[Any]:
    items = []
    if count != 0:
        async for item in stream:
            items.append(item)
            if len(items) == count:
                break
    return items
