"""One budgeted call on its way: its hold, what became of its attempts, and its end. Blocking and awaiting."""

from contextvars import ContextVar
from typing import Any

from spendgate.async_client import AsyncSpendgate
from spendgate.async_hold import AsyncHold
from spendgate.client import Spendgate
from spendgate.hold import Hold
from spendgate.providers.acting import Payer
from spendgate.providers.outcomes import (
    LeaveToExpiry,
    Outcome,
    abandon,
    conclude,
    conclude_async,
    outcome_of_error,
    was_refused,
    was_refused_with,
)
from spendgate.providers.requests import Request


class Attempts:
    """What a provider's client said of the attempts it made for one call.

    `was_sent`: the one under the present hold left this process, or (`is_watched` is False) nobody can tell. One that
    failed is over before its retry is sent, so whoever ends the call in between ends nothing that may cost money.
    """

    def __init__(self, *, is_watched: bool) -> None:
        self.was_sent = not is_watched

    def failed(self, error: BaseException | None, response: Any) -> bool:
        """Tell whether the attempt before a retry may have cost money: a retry is then one more call."""
        if response is not None:
            return not was_refused_with(response.status_code)
        return error is None or not was_refused(error)


class Call:
    """A call of a blocking client."""

    def __init__(self, gate: Spendgate, payer: Payer, request: Request, attempts: Attempts) -> None:
        self._gate = gate
        self._payer = payer
        self.request = request
        self.attempts = attempts
        self._hold: Hold | None = None

    def begin(self) -> None:
        """Reserve; raises for a block."""
        payer = self._payer
        self._hold = self._gate.reserve(payer.user_id, usage=self.request.estimate, tier=payer.tier, group=payer.group)

    def retried(self, error: BaseException | None, response: Any) -> None:
        """Take note of a failed attempt. One that may have cost money keeps its hold, and the next gets its own."""
        may_have_cost = self.attempts.failed(error, response)
        self.attempts.was_sent = False
        if may_have_cost:
            self.conclude(LeaveToExpiry())
            self.begin()

    def raised(self, error: BaseException) -> None:
        """End it with what an exception tells."""
        self.conclude(outcome_of_error(self.request, error, was_sent=self.attempts.was_sent))

    def conclude(self, outcome: Outcome) -> None:
        """End the hold. A failure is logged: the provider's answer reaches the caller all the same."""
        hold, self._hold = self._hold, None
        if hold is not None:
            conclude(hold, outcome)

    def abandon(self, outcome: Outcome) -> None:
        """End the hold without waiting."""
        hold, self._hold = self._hold, None
        if hold is not None:
            abandon(hold, outcome)


class AsyncCall:
    """A call of an awaiting client: the same as `Call`, to be awaited."""

    def __init__(self, gate: AsyncSpendgate, payer: Payer, request: Request, attempts: Attempts) -> None:
        self._gate = gate
        self._payer = payer
        self.request = request
        self.attempts = attempts
        self._hold: AsyncHold | None = None

    async def begin(self) -> None:
        """Reserve; raises for a block."""
        payer = self._payer
        self._hold = await self._gate.reserve(
            payer.user_id, usage=self.request.estimate, tier=payer.tier, group=payer.group
        )

    async def retried(self, error: BaseException | None, response: Any) -> None:
        """Take note of a failed attempt, as `Call.retried` does."""
        may_have_cost = self.attempts.failed(error, response)
        self.attempts.was_sent = False
        if may_have_cost:
            await self.conclude(LeaveToExpiry())
            await self.begin()

    async def raised(self, error: BaseException) -> None:
        """End it with what an exception tells."""
        await self.conclude(outcome_of_error(self.request, error, was_sent=self.attempts.was_sent))

    async def conclude(self, outcome: Outcome) -> None:
        """End the hold, as `Call.conclude` does."""
        hold, self._hold = self._hold, None
        if hold is not None:
            await conclude_async(hold, outcome)

    def abandon(self, outcome: Outcome) -> None:
        """End the hold without waiting."""
        hold, self._hold = self._hold, None
        if hold is not None:
            abandon(hold, outcome)


current_call: ContextVar[Call | None] = ContextVar("spendgate_call", default=None)
current_async_call: ContextVar[AsyncCall | None] = ContextVar("spendgate_async_call", default=None)
"""The call whose attempts a client is making."""
