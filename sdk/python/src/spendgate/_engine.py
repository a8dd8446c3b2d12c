"""The blocking client's way to wait for the steps of its operations; its holds share it."""

import copy
import logging
from concurrent.futures import TimeoutError as NotInTime
from typing import Final, TypeVar

from spendgate._callback import tell
from spendgate._calls import Call
from spendgate._core import Core
from spendgate._courier import Courier
from spendgate._exchange import Answers, Fields, Reply, Unreachable
from spendgate._steps import Ask, Keep, Operations, Step, Steps, Tell
from spendgate.budget_warning import OnBudgetWarning
from spendgate.decisions import Decision, Settlement

KEEP_S: Final = 5.0
"""How long a settle that could not be delivered waits until it is written down."""

T = TypeVar("T")

log = logging.getLogger("spendgate")


class Engine:
    """Runs operations over blocking sockets. Safe for threads."""

    def __init__(
        self, *, core: Core, transport: Answers, courier: Courier, on_budget_warning: OnBudgetWarning | None
    ) -> None:
        self.core = core
        self.courier = courier
        self._operations = Operations(core, courier)
        self._transport = transport
        self._callback = on_budget_warning
        self._origin: Engine | None = None

    def send(self, path: str, fields: Fields | None = None) -> Reply | Unreachable:
        """Return the answer, or that there is none."""
        breaker = self.core.breaker
        try:
            breaker.check()
            reply = self._transport.send(path, fields)
        except Unreachable as error:
            breaker.failed(error)
            return error
        breaker.answered()
        return reply

    def admit(self, call: Call) -> Decision:
        """Check or reserve, as `Operations.admit` says."""
        return self._run(self._operations.admit(call))

    def settle(self, call: Call) -> Settlement | None:
        """Settle or release, as `Operations.settle` says."""
        return self._run(self._operations.settle(call))

    def resolve(self, call: Call) -> Settlement:
        """Settle, release or extend, as `Operations.resolve` says."""
        return self._run(self._operations.resolve(call))

    def tell(self, answer: Decision | Settlement) -> None:
        """Call `on_budget_warning` for what an answer warns of."""
        tell(self._callback, self.core.warnings.due(answer))

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def telling(self, on_budget_warning: OnBudgetWarning | None) -> "Engine":
        """Return an engine that shares everything with this one but the callback."""
        other = copy.copy(self)
        other._callback, other._origin = on_budget_warning, self  # noqa: SLF001 - one of its own kind
        return other

    def _run(self, steps: Steps[T]) -> T:
        """Wait for each step, and hand its outcome back to the operation."""
        try:
            step = next(steps)
            while True:
                try:
                    outcome = self._wait(step)
                except BaseException as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(outcome)
        except StopIteration as end:
            result: T = end.value
            return result

    def _wait(self, step: Step) -> object:
        match step:
            case Ask(call):
                return self.send(call.path, call.fields)
            case Keep(call):
                self._keep(call)
            case Tell(answer):
                self.tell(answer)
        return None

    def _keep(self, call: Call) -> None:
        try:
            self.courier.keep(call).result(KEEP_S)
        except NotInTime:
            log.log(logging.ERROR, "%s is not written down yet: %s", call, call.fields)
