"""One worker: a whole sidecar that serves beside its siblings on one port, started by `sidecar.workers`.

``python -m sidecar.worker`` reads its order, one line of JSON, from standard input; it serves until SIGTERM, or until
that input ends because its supervisor has died. It writes one line to standard output when it serves.
"""

import asyncio
import logging
import os
import signal
import sys
from dataclasses import asdict, dataclass
from typing import Any

import orjson
import uvloop

from ledger.errors import LedgerError, RuleSetInvalid
from sidecar.listeners import Listeners, Place
from sidecar.logs import configure_logs
from sidecar.service import serve
from sidecar.settings import Settings

log = logging.getLogger("spendgate.worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a worker is told: its settings, with the port that all share and a data directory of its own, its place."""

    settings: Settings
    place: Place

    def encode(self) -> bytes:
        """Return the line for the worker's standard input."""
        return orjson.dumps({"settings": asdict(self.settings), "place": asdict(self.place)}) + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> "Order":
        """Return the order of a line."""
        document: dict[str, Any] = orjson.loads(line)
        return cls(settings=Settings(**document["settings"]), place=Place(**document["place"]))


def main() -> int:
    """Serve as one worker; returns the exit code."""
    order = Order.decode(sys.stdin.buffer.readline())
    configure_logs(order.settings.log_level, order.settings.log_format)
    try:
        uvloop.run(_serve(order))
    except RuleSetInvalid as invalid:
        log.error("the rules are refused: %s", "; ".join(f"{path}: {message}" for path, message in invalid.faults))  # noqa: TRY400
    except (LedgerError, OSError) as error:
        log.error("the worker cannot run: %s", error)  # noqa: TRY400 - told in one line, as on the command line
    else:
        return 0
    return 1


async def _serve(order: Order) -> None:
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), _end_with_supervisor)

    def tell(listeners: Listeners) -> None:
        sys.stdout.write(f"{listeners.decision_url}\n")
        sys.stdout.flush()

    await serve(order.settings, place=order.place, on_serving=tell)


def _end_with_supervisor() -> None:
    """Stop as on SIGTERM: nothing is ever written to our input, so that it is readable means that it has ended."""
    asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
