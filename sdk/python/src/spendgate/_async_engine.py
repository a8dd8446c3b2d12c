"""What the awaiting client and its holds share: an operation, from the request to what it means."""

import asyncio
import copy
import logging

from spendgate._callback import tell_async
from spendgate._calls import Call, charge, resolution
from spendgate._core import Core, raise_for_block
from spendgate._courier import Courier
from spendgate._delivery import passes
from spendgate._exchange import AsyncAnswers, Fields, Reply, Unreachable
from spendgate._policies import UNAVAILABLE
from spendgate.budget_warning import OnBudgetWarning
from spendgate.decisions import Decision, Settlement
from spendgate.errors import SpendgateError, SpendgateUnavailableError

log = logging.getLogger("spendgate")


class AsyncEngine:
    """Runs operations on asyncio, on any number of event loops."""

    def __init__(
        self, *, core: Core, transport: AsyncAnswers, courier: Courier, on_budget_warning: OnBudgetWarning | None
    ) -> None:
        self.core = core
        self.courier = courier
        self._transport = transport
        self._callback = on_budget_warning
        self._origin: AsyncEngine | None = None

    async def send(self, path: str, fields: Fields | None = None) -> Reply | Unreachable:
        """Return the answer, or that there is none."""
        breaker = self.core.breaker
        try:
            breaker.check()
            reply = await self._transport.send(path, fields)
        except Unreachable as error:
            breaker.failed(error)
            return error
        breaker.answered()
        return reply

    async def admit(self, call: Call) -> Decision:
        """Check or reserve. Raises for a block and for a denial, after which nothing stays held."""
        try:
            reply = await self.send(call.path, call.fields)
        except BaseException:
            self.give_back(call)
            raise
        try:
            decision = self.core.decide(call, reply)
        except SpendgateUnavailableError:
            if not isinstance(reply, Unreachable) or reply.sent:
                self.give_back(call)
            raise
        raise_for_block(decision)
        if decision.reason == UNAVAILABLE and call.operation == "check":
            await self._keep(charge(call))
        return decision

    def give_back(self, call: Call) -> None:
        """Release, in the background, a reserve that may have been made although its caller was told otherwise."""
        if call.operation == "reserve":
            self.courier.deliver(resolution("release", call.user_id, call.request_id))

    async def settle(self, call: Call) -> Settlement | None:
        """Settle or release; None if it is kept and delivered later. What is known is not lost, whatever is raised."""
        try:
            return await self.resolve(call)
        except SpendgateError as error:
            if not passes(error):
                raise
            log.warning("%s is kept and sent later: %s", call, error)
            await self._keep(call)
            return None
        except Exception:
            raise
        except BaseException:
            self.courier.deliver(call)
            raise

    async def _keep(self, call: Call) -> None:
        await asyncio.wrap_future(self.courier.keep(call))

    async def resolve(self, call: Call) -> Settlement:
        """Settle, release or extend; raises `SpendgateUnavailableError` without an answer."""
        settlement = self.core.settled(call, await self.send(call.path, call.fields))
        await self.tell(settlement)
        return settlement

    async def tell(self, answer: Decision | Settlement) -> None:
        """Call `on_budget_warning` for what an answer warns of."""
        await tell_async(self._callback, self.core.warnings.due(answer))

    async def close(self) -> None:
        """Close the connections of the running loop."""
        await self._transport.close()

    def telling(self, on_budget_warning: OnBudgetWarning | None) -> "AsyncEngine":
        """Return an engine that shares everything with this one but the callback."""
        other = copy.copy(self)
        other._callback, other._origin = on_budget_warning, self  # noqa: SLF001 - one of its own kind
        return other
