"""Puts a client together: what both kinds have, and who knows whom."""

import contextlib
import os
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from spendgate._address import read_address
from spendgate._async_engine import AsyncEngine
from spendgate._async_transport import AsyncTransport, Immediate
from spendgate._callback import tell
from spendgate._calls import Call
from spendgate._core import Core
from spendgate._courier import Courier
from spendgate._delivery import Delivery
from spendgate._engine import Engine
from spendgate._exchange import Answers, AsyncAnswers, Exchange, Reply, Unreachable
from spendgate._heartbeat import Heartbeat
from spendgate._journal import Journal, directory_for
from spendgate._policies import Fail
from spendgate._transport import Transport
from spendgate.budget_warning import OnBudgetWarning
from spendgate.decisions import Settlement

DEFAULT_TIMEOUT_S: Final = 0.5
DEFAULT_TRANSPORT = "http"

Transporting = Literal["http", "stream"] | Answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a client is made with; `Spendgate` documents it."""

    url: str | None
    token: str | None
    timeout_s: float
    fail: Fail
    on_budget_warning: OnBudgetWarning | None
    every_call: bool
    journal_dir: str | Path | None
    transport: Transporting | None

    def exchange(self) -> Exchange:
        """Return what transports say; raises `ValueError` and `TypeError` for an option that is wrong."""
        if not isinstance(self.timeout_s, int | float) or not 0 < self.timeout_s < float("inf"):
            raise ValueError(f"timeout_s must be a number of seconds above 0, not {self.timeout_s!r}")
        if self.on_budget_warning is not None and not callable(self.on_budget_warning):
            raise TypeError(f"on_budget_warning must be a function, not {self.on_budget_warning!r}")
        if isinstance(self.transport, str) and self.transport not in ("http", "stream"):
            raise ValueError(f"transport must be 'http' or 'stream', not {self.transport!r}")
        token = self.token or os.environ.get("SPENDGATE_DECISION_TOKEN")
        return Exchange(read_address(self.url), timeout_s=self.timeout_s, token=token)


def build_engine(options: Options) -> Engine:
    """Return what the blocking client works with."""
    exchange = options.exchange()
    http, transport = _transports(options, exchange)
    core = Core(fail=options.fail, every_call=options.every_call)
    courier = _courier(options, core, http, exchange.address.url)
    engine = Engine(core=core, transport=transport, courier=courier, on_budget_warning=options.on_budget_warning)
    weakref.finalize(engine, courier.stop).atexit = False
    return engine


def build_async_engine(options: Options) -> AsyncEngine:
    """Return what the awaiting client works with; its courier has a transport of its own."""
    exchange = options.exchange()
    core = Core(fail=options.fail, every_call=options.every_call)
    http, transport = _async_transports(options, exchange)
    courier = _courier(options, core, http, exchange.address.url)
    engine = AsyncEngine(core=core, transport=transport, courier=courier, on_budget_warning=options.on_budget_warning)
    weakref.finalize(engine, courier.stop).atexit = False
    return engine


def _transports(options: Options, exchange: Exchange) -> tuple[Answers, Answers]:
    """Return what the courier and what the engine of a blocking client send over."""
    if options.transport is not None and not isinstance(options.transport, str):
        return options.transport, options.transport
    http = Transport(exchange)
    if (options.transport or DEFAULT_TRANSPORT) != "stream":
        return http, http
    with _extra_installed():
        from spendgate._stream import StreamTransport  # noqa: PLC0415 - its packages are an extra
    return http, StreamTransport(exchange, http)


def _async_transports(options: Options, exchange: Exchange) -> tuple[Answers, AsyncAnswers]:
    """Return the same of an awaiting client."""
    if options.transport is not None and not isinstance(options.transport, str):
        return options.transport, Immediate(options.transport)
    http, awaiting = Transport(exchange), AsyncTransport(exchange)
    if (options.transport or DEFAULT_TRANSPORT) != "stream":
        return http, awaiting
    with _extra_installed():
        from spendgate._async_stream import AsyncStreamTransport  # noqa: PLC0415 - its packages are an extra
    return http, AsyncStreamTransport(exchange, awaiting)


@contextlib.contextmanager
def _extra_installed() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{error}; install it with: pip install 'spendgate[stream]'") from error


def _courier(options: Options, core: Core, transport: Answers, url: str) -> Courier:
    callback = options.on_budget_warning
    journal = Journal(directory_for(options.journal_dir, url))

    def send(call: Call) -> Settlement:
        reply: Reply | Unreachable
        try:
            reply = transport.send(call.path, call.fields)
            core.breaker.answered()
        except Unreachable as error:
            reply = error
        settlement = core.settled(call, reply)
        tell(callback, core.warnings.due(settlement))
        return settlement

    journal.check()
    courier = Courier(Delivery(send, journal), Heartbeat(send), transport)
    if journal.has_files():
        courier.start()
    return courier
