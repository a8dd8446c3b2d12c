"""What an operation means, from the request to what comes of it: written once, for blocking and awaiting code.

Each operation is a generator of steps. A step is something to wait for; an engine does so in its own way and sends the
result back, or throws what went wrong, also what only interrupts the waiting.
"""

import logging
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from spendgate._calls import Call, charge, resolution
from spendgate._core import Core, raise_for_block
from spendgate._courier import Courier
from spendgate._delivery import passes
from spendgate._exchange import Reply, Unreachable
from spendgate._policies import UNAVAILABLE
from spendgate.decisions import Decision, Settlement
from spendgate.errors import SpendgateError, SpendgateUnavailableError

log = logging.getLogger("spendgate")


@dataclass(frozen=True, slots=True)
class Ask:
    """Send a call; the result is the answer, or that there is none."""

    call: Call


@dataclass(frozen=True, slots=True)
class Keep:
    """Wait until the courier has written a call down."""

    call: Call


@dataclass(frozen=True, slots=True)
class Tell:
    """Call `on_budget_warning` for what an answer warns of."""

    answer: Settlement


T = TypeVar("T")
Step = Ask | Keep | Tell
Steps = Generator[Step, Any, T]


class Operations:
    """The operations of a client. Nothing here waits."""

    def __init__(self, core: Core, courier: Courier) -> None:
        self._core = core
        self._courier = courier

    def admit(self, call: Call) -> Steps[Decision]:
        """Check or reserve. Raises for a block and for a denial, after which nothing stays held."""
        try:
            reply: Reply | Unreachable = yield Ask(call)
        except BaseException:
            self.give_back(call)
            raise
        try:
            decision = self._core.decide(call, reply)
        except SpendgateUnavailableError:
            if not isinstance(reply, Unreachable) or reply.sent:
                self.give_back(call)
            raise
        raise_for_block(decision)
        if decision.reason == UNAVAILABLE and call.operation == "check":
            yield Keep(charge(call))
        return decision

    def give_back(self, call: Call) -> None:
        """Release, in the background, a reserve that may have been made although its caller was told otherwise."""
        if call.operation == "reserve":
            self._courier.deliver(resolution("release", call.user_id, call.request_id))

    def settle(self, call: Call) -> Steps[Settlement | None]:
        """Settle or release; None if it is kept and delivered later. What is known is not lost, whatever is raised."""
        try:
            return (yield from self.resolve(call))
        except SpendgateError as error:
            if not passes(error):
                raise
            log.warning("%s is kept and sent later: %s", call, error)
            yield Keep(call)
            return None
        except Exception:
            raise
        except BaseException:
            self._courier.deliver(call)
            raise

    def resolve(self, call: Call) -> Steps[Settlement]:
        """Settle, release or extend; raises `SpendgateUnavailableError` without an answer."""
        reply: Reply | Unreachable = yield Ask(call)
        settlement = self._core.settled(call, reply)
        yield Tell(settlement)
        return settlement
