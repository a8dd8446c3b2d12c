"""Very many objects beside an event loop: the interpreter stays as it was, and nothing is left over."""

import gc
import subprocess
import sys
import weakref
from dataclasses import replace
from typing import Final

import pytest

from ledger.bulk_work import BULK_RULES, SWITCH_INTERVAL_S, bulk_work, free_rule_set
from ledger.rule_parsing import parse_rule_set
from ledger.rules import RuleSet
from tests.support.rule_sets import large_document

PIECES: Final = 100_000
PIECE_BYTES: Final = 1000
PROGRAM: Final = f"""
from pathlib import Path
from ledger.bulk_work import leave_start_alone

def resident_kib():
    return int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0])

pieces = [bytes({PIECE_BYTES}) for _ in range({PIECES})]
kept = pieces[::1000]  # All over the heap, so that nothing but looking for gaps gives it back.
del pieces
before = resident_kib()
leave_start_alone()
print(before - resident_kib())
"""


def test_a_process_gives_back_what_its_start_does_not_need_any_more() -> None:
    """Catches a tenth of the memory of every sidecar pod that nothing uses."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert int(done.stdout) * 1024 > PIECES * PIECE_BYTES / 2


class Note(str):
    """Text that can be watched for its end."""


def test_bulk_work_leaves_the_interpreter_as_it_was() -> None:
    """Also after an error collections are on again and threads switch as before."""
    before = (gc.isenabled(), sys.getswitchinterval())

    with pytest.raises(ZeroDivisionError), bulk_work():
        divmod(1, 0)

    assert before == (gc.isenabled(), sys.getswitchinterval())


def test_bulk_work_is_done_without_collections_and_with_quick_switches() -> None:
    """Meanwhile no collection walks the fresh objects, and no thread waits long for another."""
    with bulk_work():
        during = (gc.isenabled(), sys.getswitchinterval())

    assert (False, pytest.approx(SWITCH_INTERVAL_S)) == during


@pytest.mark.parametrize("count", [1, BULK_RULES])
def test_freeing_leaves_nothing_of_a_rule_set(count: int) -> None:
    """The list owned the last references; rules in no other hands are gone."""
    note = Note("kept by its rule only")
    rule_set = parse_rule_set(large_document(count), revision=1)
    rules = (*rule_set.rules[1:], replace(rule_set.rules[0], note=note))
    owned = [RuleSet.of(revision=1, workspace=rule_set.workspace, rules=rules)]
    seen = weakref.ref(note)
    del note, rules, rule_set

    free_rule_set(owned)

    assert ([], None) == (owned, seen())
