"""What a wrapped client does differently: a few of its methods, replaced on the instance.

- ``post``, through which every request with a body goes, whichever method made it and however its answer comes back.
- ``_prepare_request`` and ``_sleep_for_retry``, which both packages call before an attempt and after one that failed.
- ``copy`` and ``with_options``, so that what they return is wrapped too.
"""

import sys
from typing import Any

from spendgate.async_client import AsyncSpendgate
from spendgate.client import Spendgate
from spendgate.providers.calls import AsyncCall, Attempts, Call, current_async_call, current_call
from spendgate.providers.instances import Methods, install
from spendgate.providers.outcomes import Outcome
from spendgate.providers.responses import watch, watch_async
from spendgate.providers.streams import end_when_dropped
from spendgate.providers.terms import Terms, response_behind


class Meter:
    """Budgets the calls of one blocking client."""

    def __init__(self, client: Any, gate: Spendgate, terms: Terms) -> None:
        self._gate = gate
        self._terms = terms
        own = Methods.of(client)
        self._post, self._copy, self._prepare, self._sleep = (
            own.post,
            own.copy,
            own.prepare_request,
            own.sleep_for_retry,
        )
        self._is_watched = own.are_watchable
        install(client, own, self)

    def post(self, path: str, **arguments: Any) -> Any:
        """Hold, call, and settle once the answer is read."""
        request = self._terms.read(path, arguments)
        if request is None:
            return self._post(path, **arguments)
        call = Call(self._gate, self._terms.payer(), request, Attempts(is_watched=self._is_watched))
        call.begin()
        token = current_call.set(call)
        try:
            answer = self._post(path, **arguments | {"body": request.body})
        except BaseException as error:
            call.raised(error)
            raise
        finally:
            current_call.reset(token)
        finished = self._terms.finished(request, answer)
        if isinstance(finished, Outcome):
            call.conclude(finished)
        else:
            watch(response_behind(answer), finished, call.conclude)
            end_when_dropped(answer)
        return answer

    def prepare_request(self, request: Any) -> None:
        """Take note that an attempt is sent now."""
        self._prepare(request)
        call = current_call.get()
        if call is not None:
            call.attempts.was_sent = True

    def sleep_for_retry(self, **attempt: Any) -> None:
        """Take note that an attempt failed and is repeated; raises for a block."""
        call = current_call.get()
        if call is not None:
            call.retried(sys.exception(), attempt.get("response"))
        self._sleep(**attempt)

    def copy(self, **options: Any) -> Any:
        """Return the client's copy, wrapped on the same terms."""
        copied = self._copy(**options)
        Meter(copied, self._gate, self._terms)
        return copied


class AsyncMeter:
    """Budgets the calls of one awaiting client: the same as `Meter`, to be awaited."""

    def __init__(self, client: Any, gate: AsyncSpendgate, terms: Terms) -> None:
        self._gate = gate
        self._terms = terms
        own = Methods.of(client)
        self._post, self._copy, self._prepare, self._sleep = (
            own.post,
            own.copy,
            own.prepare_request,
            own.sleep_for_retry,
        )
        self._is_watched = own.are_watchable
        install(client, own, self)

    async def post(self, path: str, **arguments: Any) -> Any:
        """Hold, call, and settle once the answer is read."""
        request = self._terms.read(path, arguments)
        if request is None:
            return await self._post(path, **arguments)
        call = AsyncCall(self._gate, self._terms.payer(), request, Attempts(is_watched=self._is_watched))
        await call.begin()
        token = current_async_call.set(call)
        try:
            answer = await self._post(path, **arguments | {"body": request.body})
        except BaseException as error:
            await call.raised(error)
            raise
        finally:
            current_async_call.reset(token)
        finished = self._terms.finished(request, answer)
        if isinstance(finished, Outcome):
            await call.conclude(finished)
        else:
            watch_async(response_behind(answer), finished, call.conclude)
            end_when_dropped(answer)
        return answer

    async def prepare_request(self, request: Any) -> None:
        """Take note that an attempt is sent now."""
        await self._prepare(request)
        call = current_async_call.get()
        if call is not None:
            call.attempts.was_sent = True

    async def sleep_for_retry(self, **attempt: Any) -> None:
        """Take note that an attempt failed and is repeated; raises for a block."""
        call = current_async_call.get()
        if call is not None:
            await call.retried(sys.exception(), attempt.get("response"))
        await self._sleep(**attempt)

    def copy(self, **options: Any) -> Any:
        """Return the client's copy, wrapped on the same terms."""
        copied = self._copy(**options)
        AsyncMeter(copied, self._gate, self._terms)
        return copied
