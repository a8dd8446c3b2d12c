"""What a start leaves behind: not the memory that only the start has needed."""

import subprocess
import sys
from typing import Final

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
