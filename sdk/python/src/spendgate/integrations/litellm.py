"""LiteLLM: its functions, budgeted.

::

    llm = BudgetedLiteLLM(gate, user_id="user-42")
    llm.completion(model="gpt-4o-mini", messages=messages, max_tokens=500)

LiteLLM swallows what its callbacks raise, so no callback can refuse a call: what is wrapped are its functions. Retries
and fallbacks inside LiteLLM (``num_retries``, ``fallbacks``, its router) are one call here.
"""

import weakref
from functools import lru_cache
from typing import Any, Unpack

import litellm

from spendgate.async_client import AsyncSpendgate
from spendgate.client import Spendgate
from spendgate.integrations._terms import terms_of
from spendgate.providers.calls import AsyncCall, Attempts, Call
from spendgate.providers.endpoints import ENDPOINTS
from spendgate.providers.outcomes import LeaveToExpiry, Outcome, Settle, outcome_of_answer, outcome_of_error
from spendgate.providers.requests import Request, read_request
from spendgate.providers.stream_usage import StreamUsage, take_chat_chunk
from spendgate.providers.terms import Terms
from spendgate.providers.wrapping import Gate, WrapOptions, shared_async_gate, shared_gate

STATE = "_spendgate_state"
SERVER_ERROR = 500


class BudgetedLiteLLM:
    """`completion` and `embedding` over a `Spendgate`, `acompletion` and `aembedding` over an `AsyncSpendgate`.

    They take and return what LiteLLM's functions do, and raise `LLMBudgetExceededError` instead of making a call that
    is refused. The terms are those of `spendgate.providers.wrap`.
    """

    def __init__(self, gate: Gate | None = None, **terms: Unpack[WrapOptions]) -> None:
        self._gate = gate
        self._terms = terms_of(terms)

    def completion(self, **params: Any) -> Any:
        """Call `litellm.completion`."""
        return self._call(litellm.completion, "chat/completions", params)

    def embedding(self, **params: Any) -> Any:
        """Call `litellm.embedding`."""
        return self._call(litellm.embedding, "embeddings", params)

    async def acompletion(self, **params: Any) -> Any:
        """Call `litellm.acompletion`."""
        return await self._acall(litellm.acompletion, "chat/completions", params)

    async def aembedding(self, **params: Any) -> Any:
        """Call `litellm.aembedding`."""
        return await self._acall(litellm.aembedding, "embeddings", params)

    def _call(self, function: Any, path: str, params: dict[str, Any]) -> Any:
        gate = self._gate if self._gate is not None else shared_gate()
        if not isinstance(gate, Spendgate):
            raise TypeError("this function blocks, so it needs a Spendgate")
        request = self._request(path, params)
        call = Call(gate, self._terms.payer(), request, Attempts(is_watched=False))
        call.begin()
        try:
            answer = function(**request.body)
        except BaseException as error:
            call.conclude(_outcome_of_error(request, error))
            raise
        if request.is_stream:
            return _watched_stream(answer, _State(request, self._terms, call))
        call.conclude(outcome_of_answer(request, answer))
        return answer

    async def _acall(self, function: Any, path: str, params: dict[str, Any]) -> Any:
        gate = self._gate if self._gate is not None else shared_async_gate()
        if not isinstance(gate, AsyncSpendgate):
            raise TypeError("this function awaits, so it needs an AsyncSpendgate")
        request = self._request(path, params)
        call = AsyncCall(gate, self._terms.payer(), request, Attempts(is_watched=False))
        await call.begin()
        try:
            answer = await function(**request.body)
        except BaseException as error:
            await call.conclude(_outcome_of_error(request, error))
            raise
        if request.is_stream:
            return _watched_stream(answer, _State(request, self._terms, call))
        await call.conclude(outcome_of_answer(request, answer))
        return answer

    def _request(self, path: str, params: dict[str, Any]) -> Request:
        terms = self._terms
        arguments = {"body": params, "stream": params.get("stream")}
        return read_request(ENDPOINTS[path], arguments, terms.names, terms.count, ask_for_usage=terms.include_usage)


def _outcome_of_error(request: Request, error: BaseException) -> Outcome:
    """Return the outcome of a call that raised. LiteLLM gives a lost connection the status of a refusal, 500."""
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and status >= SERVER_ERROR:
        return LeaveToExpiry()
    return outcome_of_error(request, error, was_sent=True)


class _State:
    """What is known of one stream while it is read."""

    def __init__(self, request: Request, terms: Terms, call: Any) -> None:
        self.call = call
        self._request = request
        self._terms = terms
        self._account = StreamUsage()

    def take(self, chunk: Any) -> bool:
        """Read a chunk, and tell whether its reader is to get it: not one that we asked for."""
        take_chat_chunk(self._account, chunk.model_dump())
        hidden = self._request.hides_usage and getattr(chunk, "usage", None) is not None
        return not hidden or any(choice.delta.content or choice.finish_reason for choice in chunk.choices)

    def outcome(self) -> Outcome:
        """Return what the stream reported, else what was streamed."""
        request, read = self._request, self._request.endpoint.read_usage
        reported = self._account.usage(read, request.estimate)
        if reported is not None:
            return Settle(reported)
        streamed = self._account.streamed(read, request.estimate, self._terms.count)
        return LeaveToExpiry() if streamed is None or request.hides_output else Settle(streamed)


def _watched_stream(stream: Any, state: _State) -> Any:
    """Return the same stream, of a subclass that tells what passes."""
    setattr(stream, STATE, state)
    stream.__class__ = _watched(_class_of(stream))
    weakref.finalize(stream, _abandon, state).atexit = False
    return stream


def _class_of(stream: object) -> type:
    return type(stream)


def _abandon(state: _State) -> None:
    """End what nobody reads any more, without waiting."""
    state.call.abandon(state.outcome())


@lru_cache(maxsize=16)
def _watched(kind: Any) -> type:
    def advance(self: Any) -> Any:
        state: _State = getattr(self, STATE)
        try:
            while not state.take(chunk := kind.__next__(self)):
                pass
        except BaseException:
            state.call.conclude(state.outcome())
            raise
        return chunk

    async def aadvance(self: Any) -> Any:
        state: _State = getattr(self, STATE)
        try:
            while not state.take(chunk := await kind.__anext__(self)):
                pass
        except BaseException:
            await state.call.conclude(state.outcome())
            raise
        return chunk

    names = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    return type(kind.__name__, (kind,), {"__next__": advance, "__anext__": aadvance, **names})
