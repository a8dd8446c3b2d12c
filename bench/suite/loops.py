"""The two loops of the load generator, one thread each.

Closed: a slot sends its next message when its last one is answered; latency counts from the sending. Open: messages
are due at times drawn beforehand (Poisson arrivals, so that they also bunch) and leave as soon as a slot is free;
latency counts from when a message was *due*, so a stall of the server delays nobody's clock (no coordinated omission).
"""

import random
import select
import selectors
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from bench.suite.callers import Caller
from bench.suite.loads import Load
from bench.suite.messages import SEED, Messages, Slot

ANSWER_DEADLINE_S: Final = 30.0


@dataclass(slots=True)
class Recorded:
    """What a loop has seen, in seconds.

    Latencies; how long after they were due messages left (open loop), for want of a free slot or because the generator
    was late itself; and the time from first to last.
    """

    latencies_s: list[float] = field(default_factory=list)
    lateness_s: list[float] = field(default_factory=list)
    elapsed_s: float = 0.0


def closed_loop(load: Load, callers: Sequence[Caller], messages: Messages) -> Recorded:
    """Keep every slot busy for `load.seconds`, then wait for what is under way."""
    recorded, selector = Recorded(), selectors.DefaultSelector()
    under_way = 0
    started = time.perf_counter()
    stop_at = started + load.seconds
    for caller in callers:
        selector.register(caller.socket, selectors.EVENT_READ, caller)
        for slot in caller.slots:
            _send(caller, slot, messages, time.perf_counter())
            under_way += 1
    while under_way:
        ready = selector.select(ANSWER_DEADLINE_S)
        if not ready:
            raise TimeoutError("no answer for half a minute")
        for key, _ in ready:
            answered = key.data.receive()
            now = time.perf_counter()
            for slot in answered:
                recorded.latencies_s.append(now - slot.due_s)
                slot.unanswered -= 1
                if slot.unanswered:
                    continue
                if (now < stop_at and messages.has_more) or slot.step:  # A reserve is settled even when time is up.
                    _send(key.data, slot, messages, time.perf_counter())
                else:
                    under_way -= 1
    recorded.elapsed_s = time.perf_counter() - started
    return recorded


def due_times(load: Load) -> list[float]:
    """Return when the messages of an open loop are due, seconds from its start."""
    assert load.rate_per_second is not None
    source, at_s, times = random.Random(SEED), 0.0, []
    while (at_s := at_s + source.expovariate(load.rate_per_second / load.per_frame)) < load.seconds:
        times.append(at_s)
    return times


def open_loop(load: Load, callers: Sequence[Caller], messages: Messages) -> Recorded:
    """Send every message when it is due; those that find no free slot wait for one, and their clocks run."""
    recorded, by_socket = Recorded(), {caller.socket: caller for caller in callers}
    free = deque((caller, slot) for caller in callers for slot in caller.slots)
    slot_count, waiting = len(free), deque(due_times(load))
    started = time.perf_counter()
    while waiting or len(free) < slot_count:
        now = time.perf_counter()
        while waiting and free and started + waiting[0] <= now:
            caller, slot = free.popleft()
            due_s = started + waiting.popleft()
            recorded.lateness_s.append(now - due_s)
            _send(caller, slot, messages, due_s)
            now = time.perf_counter()
        # select takes microseconds, where epoll rounds up to whole milliseconds.
        timeout_s = max(0.0, started + waiting[0] - now) if waiting and free else ANSWER_DEADLINE_S
        ready, _, _ = select.select(list(by_socket), [], [], timeout_s)
        if not ready and timeout_s == ANSWER_DEADLINE_S:
            raise TimeoutError("no answer for half a minute")
        for connection in ready:
            caller = by_socket[connection]
            answered = caller.receive()
            now = time.perf_counter()
            for slot in answered:
                recorded.latencies_s.append(now - slot.due_s)
                slot.unanswered -= 1
                if not slot.unanswered:
                    free.append((caller, slot))
    recorded.elapsed_s = time.perf_counter() - started
    return recorded


def _send(caller: Caller, slot: Slot, messages: Messages, due_s: float) -> None:
    slot.due_s = due_s
    caller.socket.sendall(messages.next_message(slot))
