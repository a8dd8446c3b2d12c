"""A child process that does not outlive us: Linux sends it SIGTERM when its parent dies, even by SIGKILL."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from typing import Final

PR_SET_PDEATHSIG: Final = 1
EXIT_ORPHANED: Final = 75


def tie_to_parent() -> Callable[[], None] | None:
    """Return what `subprocess.Popen` takes as `preexec_fn`; None where the system knows no such signal.

    The kernel watches the thread that starts the child, so start it from a thread that lives as long as the process.
    libc is loaded here, before the fork, because little is safe between fork and exec.
    """
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def tie() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # The parent died before the call above: nobody would send the signal.
            os._exit(EXIT_ORPHANED)

    return tie
