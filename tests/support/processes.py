"""Real sidecars as processes, for tests: started on free ports, found by what they log, stopped at the end."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from tests.support.patience import sidecar_environment

ROOT: Final = Path(__file__).parents[2]
START_DEADLINE_S: Final = 60.0
STOP_DEADLINE_S: Final = 60.0
POLL_S: Final = 0.02
SERVING: Final = re.compile(r"serving decisions on (?P<url>\S+), metrics on (?P<admin>\S+)")
LONGEST_TEST: Final = timedelta(minutes=3)


@dataclass(frozen=True, slots=True)
class SidecarProcess:
    """One running sidecar: its process, the URLs of its listeners, and the file it logs to."""

    process: "subprocess.Popen[bytes]"
    url: str
    admin_url: str
    log: Path

    def stop(self) -> int:
        """Stop it as an orchestrator would; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_DEADLINE_S)


def steady_timezone() -> str:
    """Return a time zone whose day does not end while a test runs."""
    now = datetime.now(UTC)
    return "UTC" if (now + LONGEST_TEST).date() == now.date() else "Asia/Tokyo"


def write_rules(path: Path, *rules: Mapping[str, Any], **workspace: object) -> Path:
    """Write a rule file as deployments do, beside and renamed over; the workspace's days do not end meanwhile."""
    fresh = path.with_name("fresh")
    fresh.write_text(json.dumps({"workspace": {"timezone": steady_timezone(), **workspace}, "rules": rules}))
    fresh.replace(path)
    return path


def template(key: str, limit_usd: object, **terms: object) -> dict[str, object]:
    """Return a tier's rule as it stands in a rule file: a monthly block if `terms` do not say otherwise."""
    return {"kind": "tier_template", "key": key, "limit_usd": limit_usd, "window": "month", "action": "block"} | terms


def launch(
    directory: Path, redis_url: str, rules: Path | None, *, root: Path = ROOT, **settings: object
) -> "subprocess.Popen[bytes]":
    """Start ``spendgate sidecar``; it logs to ``log`` in its directory. `settings` become SPENDGATE_... variables.

    It is `PATIENT` where they do not say otherwise. `root` is where its sources are.
    """
    directory.mkdir(parents=True, exist_ok=True)
    environment = {
        "PATH": os.environ["PATH"],
        "SPENDGATE_REDIS_URL": redis_url,
        "SPENDGATE_DATA_DIR": str(directory / "data"),
        "SPENDGATE_PORT": "auto",
        "SPENDGATE_ADMIN_PORT": "auto",
        **({"SPENDGATE_RULES": str(rules)} if rules is not None else {}),
        **sidecar_environment(settings),
    }
    with (directory / "log").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "cli.main", "sidecar"],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=root,
        )


def wait_until_serving(process: "subprocess.Popen[bytes]", log: Path) -> SidecarProcess:
    """Return the sidecar once its log tells where it serves; raises `RuntimeError` with the log if it does not."""
    deadline = time.monotonic() + START_DEADLINE_S
    while time.monotonic() < deadline and process.poll() is None:
        match = SERVING.search(log.read_text())
        if match:
            return SidecarProcess(process, match["url"], match["admin"], log)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(POLL_S)
    raise RuntimeError(f"the sidecar did not start: {log.read_text()}")


@contextlib.contextmanager
def running_sidecars(
    count: int, directory: Path, redis_url: str, rules: Path | None, *, root: Path = ROOT, **settings: object
) -> Iterator[list[SidecarProcess]]:
    """Run several sidecars over one store, started side by side."""
    processes: list[subprocess.Popen[bytes]] = []
    directories = [directory / f"sidecar-{number}" for number in range(count)]
    try:
        processes += [launch(own, redis_url, rules, root=root, **settings) for own in directories]
        yield [wait_until_serving(*pair) for pair in zip(processes, _logs(directories), strict=True)]
    finally:
        _end(processes)


@contextlib.contextmanager
def running_sidecar(
    directory: Path, redis_url: str, rules: Path | None, **settings: object
) -> Iterator[SidecarProcess]:
    """Run one sidecar."""
    with running_sidecars(1, directory, redis_url, rules, **settings) as sidecars:
        yield sidecars[0]


def _logs(directories: Sequence[Path]) -> list[Path]:
    return [own / "log" for own in directories]


def _end(processes: "Sequence[subprocess.Popen[bytes]]") -> None:
    """Ask all to stop and make sure that none is left; raises `RuntimeError` if one did not stop by itself."""
    for process in processes:
        process.send_signal(signal.SIGTERM)
    killed = 0
    for process in processes:
        try:
            process.wait(STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
    if killed:
        raise RuntimeError(f"{killed} sidecars did not stop on SIGTERM")
