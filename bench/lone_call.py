"""What one lone check costs the sidecar's own Python: ``python -m bench.lone_call [--calls 15000]``.

A whole sidecar in this process, over the embedded store; only that the two connections of a call write into nothing,
and that the store's reply is one that was heard before. So it is the time from a request's bytes to the command's, and
from the reply's bytes to the answer's, without system calls and without waiting.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import uvloop

from bench.http_check import pin
from bench.load import request_template
from bench.suite.rule_sets import rules, write
from bench.suite.subjects import PATIENT
from cli.embedded import EmbeddedStore
from ledger import script_connection
from sidecar.api import connection
from sidecar.service import running_sidecar
from sidecar.settings import Settings

USERS = 1000
Timed = tuple[list[float], list[float]]


class Nowhere:
    """A transport that notes when something was written to it, and is the real one otherwise."""

    def __init__(self, transport: Any) -> None:
        self.transport = transport
        self.written_s = 0.0

    def write(self, _data: bytes) -> None:
        """Note the time."""
        self.written_s = time.perf_counter()

    def __getattr__(self, name: str) -> Any:
        """Pass on the rest."""
        return getattr(self.transport, name)

    async def passed(self, begin: Callable[[], None]) -> float:
        """Return the seconds from the beginning to the next write."""
        self.written_s, started_s = 0.0, time.perf_counter()
        begin()
        while not self.written_s:  # noqa: ASYNC110 - an event would take a turn more
            await asyncio.sleep(0)
        return self.written_s - started_s


class Seen:
    """The two ends of a call, as they were made and used last."""

    def __init__(self) -> None:
        self.caller: Any = None
        self.link: Any = None
        self.reply = b""
        self._watch(connection.DecisionConnection, "connection_made", self._note_caller)
        self._watch(script_connection._Link, "data_received", self._note_reply)  # noqa: SLF001

    @staticmethod
    def _watch(owner: type, name: str, note: Callable[[Any, Any], None]) -> None:
        real = getattr(owner, name)

        def noting(self: Any, argument: Any) -> None:
            note(self, argument)
            real(self, argument)

        setattr(owner, name, noting)

    def _note_caller(self, caller: Any, _transport: Any) -> None:
        self.caller = caller

    def _note_reply(self, link: Any, data: bytes) -> None:
        self.link, self.reply = link, bytes(data)


async def measure(directory: Path, store_url: str, calls: int) -> Timed:
    """Return the seconds of each call, to the command and to the answer."""
    seen, template = Seen(), request_template("lone")
    environment = {
        "SPENDGATE_REDIS_URL": store_url,
        "SPENDGATE_DATA_DIR": str(directory / "data"),
        "SPENDGATE_RULES": str(write(directory / "rules.json", rules())),
        "SPENDGATE_PORT": "auto",
        "SPENDGATE_ADMIN_PORT": "auto",
        **PATIENT,
    }
    async with running_sidecar(Settings.read(environment, {}), on_failure=lambda: None) as listeners:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(listeners.decision_url.rpartition(":")[2]))
        for number in range(3):  # The first is aiohttp's; a known head is answered without it.
            writer.write(template % (number, number))
            await reader.readuntil(b"\r\n\r\n")
            await reader.read(65_536)
        caller, link, reply = seen.caller, seen.link, seen.reply
        to_caller, to_store = Nowhere(caller.transport), Nowhere(link._transport)  # noqa: SLF001
        caller.transport, link._transport = cast("Any", to_caller), cast("Any", to_store)  # noqa: SLF001
        timed: Timed = ([], [])
        for number in range(3, calls + 3):
            request = template % (number, number * 7919 % USERS)
            timed[0].append(await to_store.passed(lambda request=request: caller.data_received(request)))  # type: ignore[misc]
            timed[1].append(await to_caller.passed(lambda: link.data_received(reply)))
            await asyncio.sleep(0)
        caller.transport, link._transport = to_caller.transport, to_store.transport  # noqa: SLF001
        writer.close()
    return timed


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=15_000)
    calls: int = parser.parse_args().calls
    with tempfile.TemporaryDirectory(prefix="sg-bench-") as name:
        pin(-1)
        with EmbeddedStore.start(Path(name) / "store") as store:
            pin(0)
            timed = uvloop.run(measure(Path(name), store.url, calls))
    for what, seconds in zip(("request to command", "reply to answer"), timed, strict=True):
        tenths = statistics.quantiles(seconds, n=10)
        print(f"{what:20}{statistics.median(seconds) * 1e6:7.1f} us ({tenths[0] * 1e6:.1f} to {tenths[-1] * 1e6:.1f})")


if __name__ == "__main__":
    main()
