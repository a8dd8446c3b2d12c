"""A hold: an amount set aside for a call until its cost is known."""

import logging
import weakref
from types import TracebackType
from typing import Self

from spendgate._calls import DEFAULT_TTL_S
from spendgate._courier import abandon
from spendgate._engine import Engine
from spendgate._hold_state import HoldState
from spendgate.amounts import Amount
from spendgate.decisions import Decision, Settlement
from spendgate.errors import SpendgateRequestError
from spendgate.usage import Usage

BAD_REQUEST = 400

log = logging.getLogger("spendgate")


class Hold:
    """What `Spendgate.reserve` returns. It is kept alive until it ends: by `settle`, `release`, `close` or `with`.

    Leaving the ``with`` block ends it if nothing else did: with what was noted, else, after success, with its estimate,
    else (an exception, also KeyboardInterrupt) it is left to its expiry. It can also be kept beyond a ``with`` block,
    as for a stream that outlives its function; whoever forgets to close it is helped by the garbage collector.
    Safe for threads.
    """

    def __init__(self, engine: Engine, state: HoldState) -> None:
        self._engine = engine
        self._state = state
        engine.courier.watch(state)
        self._finalizer = weakref.finalize(self, abandon, engine.courier, state)
        self._finalizer.atexit = False

    @property
    def decision(self) -> Decision:
        """What the sidecar decided about the reserve."""
        return self._state.decision

    @property
    def request_id(self) -> str:
        """The id of the hold."""
        return self._state.decision.request_id

    @property
    def is_open(self) -> bool:
        """It is not settled, released or closed yet."""
        return self._state.is_open

    def note_usage(self, usage: Usage) -> None:
        """Remember what is known so far; the last note counts. Should nobody settle, this is charged."""
        self._state.note(usage, None)

    def note_cost(self, cost_usd: Amount) -> None:
        """Remember what it costs so far; the last note counts. Should nobody settle, this is charged."""
        self._state.note(None, cost_usd)

    def settle(self, *, cost_usd: Amount | None = None, usage: Usage | None = None) -> Settlement | None:
        """Replace the hold by what the call did cost; without an argument by what was noted.

        Returns None if the sidecar gave no answer: then the settle is kept on disk and sent later. Raises
        `SpendgateRequestError` if it is refused: a hold is settled once. Raises `ValueError` for no amount.
        """
        call = self._state.actual_or_noted(cost_usd, usage)
        was_open = self._state.end()
        try:
            return self._engine.settle(call)
        except SpendgateRequestError as error:
            if was_open and error.status == BAD_REQUEST:
                self._state.reopen()
            raise
        finally:
            self._let_go()

    def release(self) -> Settlement | None:
        """Give the hold back: the call never happened. Returns and raises like `settle`."""
        self._state.end()
        try:
            return self._engine.settle(self._state.release())
        finally:
            self._let_go()

    def extend(self, ttl_s: int = DEFAULT_TTL_S) -> Settlement:
        """Move the deadline to now plus `ttl_s`, 1-3600 seconds. Open holds are extended by themselves."""
        return self._engine.resolve(self._state.extend(ttl_s))

    def close(self, *, outcome_unknown: bool = True) -> None:
        """End the hold if it is open: with what was noted, else with its estimate.

        If the outcome of the call is unknown, the estimate is not settled but left to the expiry of the hold. Raises
        nothing: an exception may be on its way.
        """
        if not self._state.end():
            return
        self._let_go()
        call, outcome = self._state.ending(outcome_unknown=outcome_unknown)
        log.log(self._state.ending_level(call), "%s is %s", self._state, outcome)
        if call is None:
            return
        try:
            self._engine.settle(call)
        except SpendgateRequestError as error:
            log.log(logging.ERROR, "%s could not be settled: %s", self._state, error)

    def give_back(self) -> None:
        """Release it without waiting for the sidecar; the release is sent in the background."""
        if self._state.end():
            self._engine.courier.deliver(self._state.release())
            self._let_go()

    def abandon(self) -> None:
        """Close it with an unknown outcome without waiting for the sidecar; the settle is sent in the background."""
        abandon(self._engine.courier, self._state, "was abandoned")
        self._let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close(outcome_unknown=kind is not None)

    def _let_go(self) -> None:
        if not self._state.is_open:
            self._engine.courier.forget(self._state)
            self._finalizer.detach()
