"""Real sidecars as processes, for tests: started on free ports, found by what they log, stopped at the end."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp

START_DEADLINE_S = 20.0
STOP_DEADLINE_S = 10.0
SERVING = re.compile(r"serving decisions on (?P<url>\S+), metrics on (?P<admin>\S+)")


@dataclass
class SidecarProcess:
    """One running sidecar: its process and the URLs of its listeners."""

    process: "subprocess.Popen[bytes]"
    url: str
    admin_url: str
    log: Path

    def stop(self) -> int:
        """Stop it as an orchestrator would; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_DEADLINE_S)


def start_sidecar(directory: Path, redis_url: str, rules: Path, **settings: object) -> SidecarProcess:
    """Start ``spendgate sidecar`` and wait until it serves; `settings` become SPENDGATE_... variables."""
    directory.mkdir(parents=True, exist_ok=True)
    environment = {
        "PATH": os.environ["PATH"],
        "SPENDGATE_REDIS_URL": redis_url,
        "SPENDGATE_RULES": str(rules),
        "SPENDGATE_DATA_DIR": str(directory / "data"),
        "SPENDGATE_PORT": "auto",
        "SPENDGATE_ADMIN_PORT": "auto",
        **{f"SPENDGATE_{name.upper()}": str(value) for name, value in settings.items()},
    }
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "sidecar"], stdout=output, stderr=subprocess.STDOUT, env=environment
        )
    deadline = time.monotonic() + START_DEADLINE_S
    while time.monotonic() < deadline and process.poll() is None:
        match = SERVING.search(log.read_text())
        if match:
            return SidecarProcess(process, match["url"], match["admin"], log)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
    process.kill()
    process.wait()
    raise RuntimeError(f"the sidecar did not start: {log.read_text()}")


@contextlib.contextmanager
def running_sidecars(
    count: int, directory: Path, redis_url: str, rules: Path, **settings: object
) -> Iterator[list[SidecarProcess]]:
    """Run several sidecars over one store."""
    sidecars: list[SidecarProcess] = []
    try:
        for number in range(count):
            sidecars.append(start_sidecar(directory / str(number), redis_url, rules, **settings))  # noqa: PERF401
        yield sidecars
    finally:
        for sidecar in sidecars:
            with contextlib.suppress(subprocess.TimeoutExpired):
                sidecar.stop()
            sidecar.process.kill()
            sidecar.process.wait()


class DroppingProxy:
    """A TCP proxy in front of a Unix-socket store that can swallow replies, or cut them off."""

    def __init__(self, target: str) -> None:
        self._target = target.removeprefix("unix://")
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.drop_replies = False
        self.dropped = 0
        self.url = ""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_unix_connection(self._target)
        forward = asyncio.create_task(self._pump(reader, upstream_writer, is_reply=False))
        backward = asyncio.create_task(self._pump(upstream_reader, writer, is_reply=True))
        self._tasks |= {forward, backward}
        await asyncio.wait({forward, backward}, return_when=asyncio.FIRST_COMPLETED)
        for task in (forward, backward):
            task.cancel()
        for end in (writer, upstream_writer):
            end.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_reply: bool) -> None:
        while data := await reader.read(65536):
            if is_reply and self.drop_replies:
                self.dropped += 1
                continue
            writer.write(data)
            await writer.drain()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["DroppingProxy"]:
        """Listen on a free loopback port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        host, port = self._server.sockets[0].getsockname()
        self.url = f"redis://{host}:{port}"
        try:
            yield self
        finally:
            self._server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)


async def post(session: aiohttp.ClientSession, url: str, body: dict[str, object]) -> dict[str, object]:
    """POST JSON and return the answer, which must be a 200."""
    async with session.post(url, json=body) as response:
        answer = await response.json(content_type=None)
        assert 200 == response.status, answer
        return dict(answer)
