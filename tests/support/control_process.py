"""A control plane as a process of its own, which tests kill."""

import contextlib
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Final

from tests.support.processes import ROOT

DEADLINE_S: Final = 60.0
POLL_S: Final = 0.02


@contextlib.contextmanager
def control_plane_process(
    redis_url: str, workspace: str, **settings: object
) -> Iterator[tuple["subprocess.Popen[bytes]", str]]:
    """Run a control plane as a process, with `settings` as SPENDGATE_... variables; yields it and its API's URL.

    It has read the rules then: one that the store was slow to answer serves before that, and can change none.
    """
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
            api = pipe.readline().strip() + "/api/v1"
        _wait_for_rules(api)
        yield process, api
    finally:
        process.kill()
        process.wait()


def _wait_for_rules(api: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{api}/templates", timeout=DEADLINE_S):
                return
        except urllib.error.HTTPError as error:
            with error:
                if error.code != 503:
                    raise
        time.sleep(POLL_S)
    raise RuntimeError("the control plane has no rules")
