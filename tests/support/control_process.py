"""A control plane as a process of its own, which tests kill."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

from tests.support.processes import ROOT


@contextlib.contextmanager
def control_plane_process(
    redis_url: str, workspace: str, **settings: object
) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """Run a control plane as a process, with `settings` as SPENDGATE_... variables; yields it and its API's URL."""
    reader, writer = os.pipe()
    environment = {
        "PATH": os.environ["PATH"],
        "SPENDGATE_REDIS_URL": redis_url,
        "SPENDGATE_WORKSPACE": workspace,
        "SPENDGATE_CONTROL_PORT": "auto",
        "SPENDGATE_CONTROL_ADMIN_PORT": "auto",
        **{f"SPENDGATE_{name.upper()}": str(value) for name, value in settings.items()},
    }
    command = [sys.executable, "-m", "cli.main", "controlplane", "--ready-fd", str(writer)]
    process = subprocess.Popen(
        command, env=environment, cwd=ROOT, pass_fds=[writer], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    os.close(writer)
    try:
        with os.fdopen(reader) as pipe:
            yield process, pipe.readline().strip() + "/api/v1"
    finally:
        process.kill()
        process.wait()
