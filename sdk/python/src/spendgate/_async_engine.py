"""The awaiting client's way to wait for the steps of its operations; its holds share it."""

import asyncio
import copy
from typing import TypeVar

from spendgate._callback import tell_async
from spendgate._calls import Call
from spendgate._core import Core
from spendgate._courier import Courier
from spendgate._exchange import AsyncAnswers, Fields, Reply, Unreachable
from spendgate._steps import Ask, Keep, Operations, Step, Steps, Tell
from spendgate.budget_warning import OnBudgetWarning
from spendgate.decisions import Decision, Settlement

T = TypeVar("T")


class AsyncEngine:
    """Runs operations on asyncio, on any number of event loops."""

    def __init__(
        self, *, core: Core, transport: AsyncAnswers, courier: Courier, on_budget_warning: OnBudgetWarning | None
    ) -> None:
        self.core = core
        self.courier = courier
        self._operations = Operations(core, courier)
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
        """Check or reserve, as `Operations.admit` says."""
        return await self._run(self._operations.admit(call))

    async def settle(self, call: Call) -> Settlement | None:
        """Settle or release, as `Operations.settle` says."""
        return await self._run(self._operations.settle(call))

    async def resolve(self, call: Call) -> Settlement:
        """Settle, release or extend, as `Operations.resolve` says."""
        return await self._run(self._operations.resolve(call))

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

    async def _run(self, steps: Steps[T]) -> T:
        """Wait for each step, and hand its outcome back to the operation."""
        try:
            step = next(steps)
            while True:
                try:
                    outcome = await self._wait(step)
                except BaseException as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(outcome)
        except StopIteration as end:
            result: T = end.value
            return result

    async def _wait(self, step: Step) -> object:
        match step:
            case Ask(call):
                return await self.send(call.path, call.fields)
            case Keep(call):
                await asyncio.wrap_future(self.courier.keep(call))
            case Tell(answer):
                await self.tell(answer)
        return None
