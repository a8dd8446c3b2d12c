"""Very many objects beside a running event loop: made and freed in a thread without a stall over 20 milliseconds.

What stalls a loop while a thread works: the thread keeping the interpreter for its switch interval (5 ms) each time
the loop wants it, C functions that never let go of it (decoders, freeing many objects at once), and garbage
collections over a million fresh objects. Each has its answer here.
"""

import ctypes
import gc
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from ledger.rules import RuleSet

BULK_RULES: Final = 2_000
SWITCH_INTERVAL_S: Final = 0.001
FREED_AT_ONCE: Final = 500

_turn: Final = threading.Lock()


def leave_start_alone() -> None:
    """Keep what a process made at its start out of later collections, the first one of `bulk_work` among them.

    What the start has used and does not need any more goes back to the system, where the C library can (glibc's can,
    and does not by itself).
    """
    gc.collect()
    gc.freeze()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


@contextmanager
def bulk_work() -> Iterator[None]:
    """Let a thread handle very many objects without stalling the event loop of another; one thread at a time.

    Collections are off meanwhile: reference counts free nearly all. What is left then is frozen, because walking the
    rules of 100,000 users in each later full collection would stall too; garbage in cycles goes before.
    """
    with _turn:
        interval_s, collecting = sys.getswitchinterval(), gc.isenabled()
        gc.collect()
        gc.disable()
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        try:
            yield
        finally:
            sys.setswitchinterval(interval_s)
            gc.freeze()
            if collecting:
                gc.enable()


def free_rule_set(owned: list[RuleSet]) -> None:
    """Free the rule sets of a list in small steps; the list must hold the last references to them."""
    if all(rule_set.count < BULK_RULES for rule_set in owned):
        owned.clear()
        return
    with bulk_work():
        while owned:
            rule_set = owned.pop()
            index = [*rule_set.overrides.values(), *rule_set.templates.values()]
            rules = list(rule_set.rules)
            del rule_set
            free_list(index)
            free_list(rules)


def free_list(items: list[Any]) -> None:
    """Free the items of a list in small steps; the list must hold the last references to them."""
    while items:
        del items[-FREED_AT_ONCE:]
