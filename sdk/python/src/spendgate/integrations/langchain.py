"""LangChain: a callback handler that holds, settles and blocks the calls of chat models and LLMs.

::

    ChatOpenAI(model="gpt-4o-mini", max_tokens=500, callbacks=[SpendgateHandler(gate, user_id="user-42")])

Errors of handlers are swallowed by LangChain unless the handler says ``raise_error``, as this one does. It blocks, for
both ways of calling: LangChain runs it in a thread beside an event loop. (Errors of an asynchronous handler are
swallowed when its model is called without one.)
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final, Unpack
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import BaseMessage
from langchain_core.outputs import LLMResult

from spendgate.client import Spendgate
from spendgate.hold import Hold
from spendgate.integrations._terms import terms_of
from spendgate.providers.endpoints import ENDPOINTS
from spendgate.providers.outcomes import LeaveToExpiry, Outcome, Release, Settle, conclude, was_refused
from spendgate.providers.requests import Request, read_request
from spendgate.providers.stream_usage import StreamUsage
from spendgate.providers.usages import openai_usage
from spendgate.providers.wrapping import WrapOptions, shared_gate
from spendgate.usage import Usage

CACHE_WRITES: Final = ("cache_creation", "ephemeral_")
"""What is written to a cache stands under one of these, and never under both."""


@dataclass(slots=True)
class _Run:
    request: Request
    hold: Hold
    account: StreamUsage = field(default_factory=StreamUsage)


class SpendgateHandler(BaseCallbackHandler):
    """Budgets every call of the models it is given to. The terms are those of `spendgate.providers.wrap`.

    Give it to models, or to one invocation (``config={"callbacks": [...]}``), not to a model whose client is wrapped:
    the call would be charged twice. Retries inside a model's client are one call here; with ``max_retries=0`` and
    ``with_retry`` of LangChain's each is its own.
    """

    raise_error = True

    def __init__(self, gate: Spendgate | None = None, **terms: Unpack[WrapOptions]) -> None:
        self._gate = gate if gate is not None else shared_gate()
        self._terms = terms_of(terms)
        self._runs: dict[UUID, _Run] = {}
        self._lock = threading.Lock()

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],  # noqa: ARG002 - LangChain's signature
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Hold; raises `LLMBudgetExceededError` for a call that is refused."""
        texts = [{"content": message.content} for batch in messages for message in batch]
        self._begin(run_id, texts, kwargs.get("invocation_params"), metadata)

    def on_llm_start(
        self,
        serialized: dict[str, Any],  # noqa: ARG002 - LangChain's signature
        prompts: list[str],
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Hold; raises `LLMBudgetExceededError` for a call that is refused."""
        self._begin(run_id, prompts, kwargs.get("invocation_params"), metadata)

    def on_llm_new_token(self, token: str | Sequence[Any], *, run_id: UUID, **_kwargs: Any) -> None:
        """Count what is streamed, for a stream that breaks or is left."""
        run = self._runs.get(run_id)
        if run is not None:
            run.account.add(token if isinstance(token, str) else list(token))

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **_kwargs: Any) -> None:
        """Settle with the usage of the messages, or of the provider's answer."""
        run = self._end(run_id)
        if run is not None:
            conclude(run.hold, self._outcome(run, response))

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **_kwargs: Any) -> None:
        """Settle with what was streamed, release what was refused, and leave the rest to its expiry."""
        run = self._end(run_id)
        if run is None:
            return
        streamed = self._streamed(run)
        if isinstance(streamed, Settle):
            conclude(run.hold, streamed)
        else:
            conclude(run.hold, Release() if was_refused(error) else LeaveToExpiry())

    def _begin(self, run_id: UUID, messages: Any, invocation: Any, metadata: dict[str, Any] | None) -> None:
        terms, params, known = self._terms, invocation or {}, metadata or {}
        body = {
            **params,
            "messages": messages,
            "model": known.get("ls_model_name") or params.get("model") or params.get("model_name"),
            "max_tokens": known.get("ls_max_tokens") or params.get("max_tokens"),
        }
        request = read_request(
            ENDPOINTS["chat/completions"], {"body": body}, terms.names, terms.count, ask_for_usage=False
        )
        payer = terms.payer()
        hold = self._gate.reserve(payer.user_id, usage=request.estimate, tier=payer.tier, group=payer.group)
        with self._lock:
            self._runs[run_id] = _Run(request, hold)

    def _end(self, run_id: UUID) -> _Run | None:
        with self._lock:
            return self._runs.pop(run_id, None)

    def _outcome(self, run: _Run, response: LLMResult) -> Outcome:
        messages = [getattr(made, "message", None) for made in chain(*response.generations)]
        reported = [tokens for message in messages if (tokens := getattr(message, "usage_metadata", None))]
        estimate = run.request.estimate
        if reported:
            return Settle(_summed(estimate, reported))
        usage = openai_usage(estimate.model, estimate.provider, (response.llm_output or {}).get("token_usage"))
        return self._streamed(run) if usage is None else Settle(usage)

    def _streamed(self, run: _Run) -> Outcome:
        usage = run.account.streamed(run.request.endpoint.read_usage, run.request.estimate, self._terms.count)
        return LeaveToExpiry() if usage is None or run.request.hides_output else Settle(usage)


def _summed(estimate: Usage, reported: Sequence[Mapping[str, Any]]) -> Usage:
    """Return the usage of all messages. LangChain counts cached tokens within the input, for every provider."""
    read = written = kept_an_hour = total = output = reasoning = 0
    for tokens in reported:
        into, out = tokens.get("input_token_details") or {}, tokens.get("output_token_details") or {}
        read += into.get("cache_read") or 0
        written += sum(
            into.get(name) or 0 for name in into if name == "cache_creation" or name.startswith("ephemeral_")
        )
        kept_an_hour += into.get("ephemeral_1h_input_tokens") or 0
        reasoning += out.get("reasoning") or 0
        total += tokens.get("input_tokens") or 0
        output += tokens.get("output_tokens") or 0
    return Usage(
        model=estimate.model,
        provider=estimate.provider,
        input_tokens=max(0, total - read - written),
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=reasoning,
        cache_write_1h_tokens=kept_an_hour,
    )
