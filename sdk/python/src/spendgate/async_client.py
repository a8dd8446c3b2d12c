"""The awaiting client."""

import asyncio
import copy
import functools
import inspect
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, Self, TypeVar, Unpack

from spendgate import _calls
from spendgate._calls import DEFAULT_TTL_S, Meta
from spendgate._core import usage_path
from spendgate._decorator import FromArguments, FromResult, Terms, refuse_generators
from spendgate._hold_state import HoldState
from spendgate._options import ReserveOptions
from spendgate._policies import Fail
from spendgate._setup import DEFAULT_TIMEOUT_S, Options, Transporting, build_async_engine
from spendgate.amounts import Amount
from spendgate.async_hold import AsyncHold
from spendgate.budget_warning import OnBudgetWarning
from spendgate.decisions import Decision, Settlement, UserUsage
from spendgate.usage import Usage

P = ParamSpec("P")
R = TypeVar("R")


class AsyncSpendgate:
    """Asks a sidecar before LLM calls and tells it what they cost. One client serves all event loops of a process.

    It takes what `Spendgate` takes, and does the same; `on_budget_warning` is awaited if it is a coroutine function.
    """

    def __init__(  # noqa: PLR0913 - a client's options, each by name
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        fail: Fail = "closed",
        on_budget_warning: OnBudgetWarning | None = None,
        every_call: bool = False,
        journal_dir: str | Path | None = None,
        tier: str | None = None,
        group: str | None = None,
        transport: Transporting | None = None,
    ) -> None:
        options = Options(
            url=url,
            token=token,
            timeout_s=timeout_s,
            fail=fail,
            on_budget_warning=on_budget_warning,
            every_call=every_call,
            journal_dir=journal_dir,
            transport=transport,
        )
        self._engine = build_async_engine(options)
        self._tier = tier
        self._group = group

    async def check(
        self,
        user_id: str,
        *,
        cost_usd: Amount | None = None,
        usage: Usage | None = None,
        tier: str | None = None,
        group: str | None = None,
        request_id: str | None = None,
        meta: Meta | None = None,
    ) -> Decision:
        """Decide about a known cost, and charge it unless it is refused: `cost_usd`, or the `usage` that is priced.

        Raises `LLMBudgetExceededError` for a refusal, `SpendgateUnavailableError` if there is no answer and the failure
        policy says deny, `SpendgateRequestError` for a request that is wrong.
        """
        call = _calls.admission(
            *("check", user_id, cost_usd, usage),
            tier=tier or self._tier,
            group=group or self._group,
            request_id=request_id,
            meta=meta,
        )
        decision = await self._engine.admit(call)
        await self._engine.tell(decision)
        return decision

    async def reserve(
        self,
        user_id: str,
        *,
        estimate_usd: Amount | None = None,
        usage: Usage | None = None,
        tier: str | None = None,
        group: str | None = None,
        request_id: str | None = None,
        meta: Meta | None = None,
        ttl_s: int = DEFAULT_TTL_S,
    ) -> AsyncHold:
        """Hold an estimate for a call that is about to be made: `estimate_usd`, or the `usage` that is priced.

        The hold is kept alive until it ends. Raises like `check`.
        """
        call = _calls.admission(
            *("reserve", user_id, estimate_usd, usage),
            tier=tier or self._tier,
            group=group or self._group,
            request_id=request_id,
            meta=meta,
            ttl_s=ttl_s,
        )
        decision = await self._engine.admit(call)
        hold = AsyncHold(self._engine, HoldState.of(call, decision))
        try:
            await self._engine.tell(decision)
        except BaseException:
            hold.give_back()
            raise
        return hold

    def hold(self, user_id: str, **options: Unpack[ReserveOptions]) -> "PendingAsyncHold":
        """Return a context manager that reserves when it is entered, and ends the hold when it is left.

        It takes what `reserve` takes.
        """
        return PendingAsyncHold(lambda: self.reserve(user_id, **options))

    async def settle(
        self,
        user_id: str,
        request_id: str,
        *,
        cost_usd: Amount | None = None,
        usage: Usage | None = None,
        reserved_at: datetime | None = None,
        tier: str | None = None,
        group: str | None = None,
    ) -> Settlement | None:
        """Settle a hold by its ids, as another process than the one that reserved it does.

        Give the reserve's `reserved_at`, so that the cost is charged even where the hold is unknown. Returns None if
        there is no answer: then the settle is kept on disk and sent later. Raises `SpendgateRequestError` if it is
        refused.
        """
        call = _calls.settle(
            *(user_id, request_id, cost_usd, usage),
            reserved_at=reserved_at,
            tier=tier or self._tier,
            group=group or self._group,
        )
        return await self._engine.settle(call)

    async def release(self, user_id: str, request_id: str) -> Settlement | None:
        """Give a hold back by its ids: the call never happened. Returns and raises like `settle`."""
        return await self._engine.settle(_calls.resolution("release", user_id, request_id))

    async def extend(self, user_id: str, request_id: str, *, ttl_s: int = DEFAULT_TTL_S) -> Settlement:
        """Move a hold's deadline to now plus `ttl_s`, 1-3600 seconds.

        Raises `SpendgateUnavailableError` without an answer, `SpendgateRequestError` if it is refused.
        """
        return await self._engine.resolve(_calls.resolution("extend", user_id, request_id, ttl_s=ttl_s))

    async def usage(self, user_id: str, *, tier: str | None = None) -> UserUsage:
        """Return what a user spent, holds and has left. Raises like `extend`."""
        return self._engine.core.used(user_id, await self._engine.send(usage_path(user_id, tier or self._tier)))

    def budgeted(
        self,
        *,
        user_id: str | FromArguments = "user_id",
        estimate_usd: Amount | FromArguments | None = None,
        usage: Usage | FromArguments | None = None,
        cost: FromResult | None = None,
        tier: str | FromArguments | None = None,
        group: str | None = None,
    ) -> Callable[[Callable[P, Awaitable[R]]], Callable[P, Awaitable[R]]]:
        """Decorate a coroutine function: each call of it is held before and settled after.

        `user_id` names the parameter that says whose call it is. It, the estimate, the usage and the tier may also be
        functions of the call's arguments (a mapping by name). `cost` makes of the result what it did cost: an amount,
        or a `Usage`; without it, or where it returns None, the estimate is charged.
        """
        terms = Terms(user_id=user_id, estimate_usd=estimate_usd, usage=usage, cost=cost, tier=tier, group=group)

        def decorate(function: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
            refuse_generators(function)
            if not inspect.iscoroutinefunction(function):
                raise TypeError("budgeted decorates coroutine functions; Spendgate has one for plain functions")
            bound = terms.bind(function)

            @functools.wraps(function)
            async def budgeted_call(*args: P.args, **kwargs: P.kwargs) -> R:
                user, options = bound.of_call(args, kwargs)
                async with self.hold(user, **options) as hold:
                    result = await function(*args, **kwargs)
                    settlement = bound.of_result(result)
                    if settlement is not None:
                        await hold.settle(**settlement)
                return result

            return budgeted_call

        return decorate

    async def close(self) -> None:
        """Close the connections and hand in what is left; what cannot be delivered stays on disk for the next process.

        Open holds are closed with an unknown outcome.
        """
        try:
            await asyncio.to_thread(self._engine.courier.close)
        finally:
            await self._engine.close()

    def telling(self, on_budget_warning: OnBudgetWarning | None) -> Self:
        """Return a client that tells another callback of warnings, and shares everything else with this one."""
        other = copy.copy(self)
        other._engine = self._engine.telling(on_budget_warning)  # noqa: SLF001 - one of its own kind
        return other

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


class PendingAsyncHold:
    """A hold that is reserved when the ``async with`` block is entered."""

    def __init__(self, reserve: Callable[[], Awaitable[AsyncHold]]) -> None:
        self._reserve = reserve
        self._hold: AsyncHold | None = None

    async def __aenter__(self) -> AsyncHold:
        self._hold = await self._reserve()
        return self._hold

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._hold is not None:
            await self._hold.close(outcome_unknown=kind is not None)
