"""The thread in the background: it keeps holds alive, and delivers what could not be delivered at once.

It works over a transport of its own with plain sockets, so it needs no event loop and goes on while one is blocked,
cancelled or closed. It starts with the first hold.
"""

import atexit
import contextlib
import logging
import os
import queue
import threading
import time
import weakref
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

from spendgate import _forks
from spendgate._calls import Call
from spendgate._delivery import Delivery
from spendgate._exchange import Answers
from spendgate._heartbeat import Heartbeat
from spendgate._hold_state import HoldState

IDLE_S: Final = 60.0
"""The thread looks around at least this often, also for what ended processes left."""
EXIT_S: Final = 2.0
"""How long the end of the process waits for what is still to be delivered or written down."""

log = logging.getLogger("spendgate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Errand:
    """A call to deliver, or with `keep` to write down at once, or only a line for the log. `done` is told the end."""

    call: Call | None = None
    keep: bool = False
    note: str = ""
    done: "Future[None] | None" = None


class Courier:
    """Runs errands in one daemon thread. Every method may be called from any thread, `leave` also from finalizers."""

    def __init__(self, delivery: Delivery, heartbeat: Heartbeat, transport: Answers) -> None:
        self._delivery = delivery
        self._heartbeat = heartbeat
        self._transport = transport
        self._begin()
        _forks.join(self)
        atexit.register(_close, weakref.ref(self))

    def _begin(self) -> None:
        self._starts = threading.Lock()
        self._works = threading.RLock()
        self._errands: queue.SimpleQueue[Errand | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._wakes_at_s = 0.0
        self._is_closed = False

    def after_fork(self) -> None:
        """Begin with nothing: the parent's holds and errands are the parent's."""
        self._begin()
        self._heartbeat.clear()
        self._delivery.after_fork()

    def watch(self, state: HoldState) -> None:
        """Keep a hold alive until `forget`."""
        self._heartbeat.add(state)
        if not self.start() or state.next_beat_s < self._wakes_at_s:
            self._errands.put(None)

    def forget(self, state: HoldState) -> None:
        """Keep it alive no longer."""
        self._heartbeat.remove(state)

    def deliver(self, call: Call) -> None:
        """Deliver a settle or release as soon as it is possible; kept on disk meanwhile. Never waits."""
        self.start()
        self.leave(call)

    def leave(self, call: Call | None, *, note: str = "") -> None:
        """Deliver likewise, and log a line. For finalizers: it waits for no lock and starts no thread."""
        self._errands.put(Errand(call=call, note=note))
        if self._is_closed:
            self._run_errands()

    def keep(self, call: Call) -> "Future[None]":
        """Write down what could not be delivered just now, and deliver it later; the future says when it is safe."""
        done: Future[None] = Future()
        self.start()
        self._errands.put(Errand(call=call, keep=True, done=done))
        if self._is_closed:
            self._run_errands()
        return done

    def stop(self) -> None:
        """Have the thread hand in what is left and end; does not wait for it."""
        self._is_closed = True
        self._errands.put(None)

    def close(self) -> None:
        """Hand in what is left and stop the thread; what is not delivered stays on disk."""
        self._is_closed = True
        for state in self._heartbeat.states():
            abandon(self, state)
        self._errands.put(None)
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(EXIT_S)
        self._hand_in()

    def start(self) -> bool:
        """Start the thread if need be; says whether it ran already."""
        if self._thread is not None:
            return True
        with self._starts:
            if self._thread is not None or self._is_closed:
                return True
            thread = threading.Thread(target=self._run, name="spendgate-courier", daemon=True)
            with contextlib.suppress(RuntimeError):  # the interpreter is shutting down: `close` does the rest
                thread.start()
                self._thread = thread
        return False

    def _run(self) -> None:
        while not self._is_closed:
            with contextlib.suppress(queue.Empty):
                self._run_errand(self._errands.get(timeout=self._plan_sleep()))
            self._wakes_at_s = 0.0
            self._look_around()
        self._hand_in()

    def _hand_in(self) -> None:
        """Deliver or write down what is left, and let go of the files and connections."""
        self._run_errands()
        with self._works:
            self._delivery.close()
            self._transport.close()

    def _look_around(self) -> None:
        try:
            self._heartbeat.beat()
            with self._works:
                self._delivery.retry()
        except Exception:
            log.exception("the courier failed; it goes on")

    def _plan_sleep(self) -> float:
        """Return how long to sleep, in seconds; holds that are added from now on see when that ends."""
        self._wakes_at_s = min(time.monotonic() + IDLE_S, self._heartbeat.next_s(), self._delivery.next_s())
        # Whoever added a hold before that line could not see it, so its beat is looked up once more.
        return max(0.0, min(self._wakes_at_s, self._heartbeat.next_s()) - time.monotonic())

    def _run_errands(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._run_errand(self._errands.get_nowait())

    def _run_errand(self, errand: Errand | None) -> None:
        if errand is None:
            return
        if errand.note:
            log.warning(errand.note)
        try:
            if errand.call is not None:
                with self._works:
                    (self._delivery.keep if errand.keep else self._delivery.deliver)(errand.call)
        except Exception:
            log.exception("an errand failed: %s", errand.call)
        finally:
            if errand.done is not None and errand.done.set_running_or_notify_cancel():
                errand.done.set_result(None)


def abandon(courier: Courier, state: HoldState, why: str = "was not closed") -> None:
    """End a hold that nobody will end, from a finalizer or at exit: it takes no lock, waits for nothing, logs nothing.

    Holds that another process made, before it forked this one, are left to that process.
    """
    if state.pid != os.getpid() or not state.end():
        return
    courier.forget(state)
    call, outcome = state.ending(outcome_unknown=True)
    courier.leave(call, note=f"{state} {why}; it is {outcome}")


def _close(courier: "weakref.ref[Courier]") -> None:
    alive = courier()
    if alive is not None:
        alive.close()
