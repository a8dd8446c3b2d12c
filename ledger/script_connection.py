"""One connection for programs, pipelined: a batch may be sent before the one ahead of it was answered.

redis-py connects and authenticates; from then on the bytes are hiredis', packed and parsed in C, on the bare transport
(docs/decisions/0006). Replies come in the order of the commands. A caller that gives up closes the connection, because
a store that did not answer in time is to be asked anew; so no reply can reach the wrong caller.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import hiredis
from redis._parsers import BaseParser
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from ledger.scripts import GiveUp, Tell

if TYPE_CHECKING:
    import redis.asyncio as redis

REPLY_LIMIT_S: Final = 15.0

_ASKING: Final = hiredis.pack_command(("ASKING",))

Reply = asyncio.Future[Any]

log = logging.getLogger("spendgate.store")


class NotReplicated(ResponseError):
    """The command ran, but no replica has what it wrote; it may be lost with the primary."""


class ScriptConnection:
    """A `CommandRunner` with the address of a client; connects on first use and after a loss.

    The caller bounds the whole call, and cancels it; `REPLY_LIMIT_S` is only the end of waiting for a caller whose
    cancellation was lost on the way (redis-py's handshake uses `asyncio.wait_for`, which can swallow one).
    """

    def __init__(self, client: "redis.Redis") -> None:
        self._make_connection: Any = client.connection_pool.make_connection
        self._link: _Link | None = None
        self._connecting = asyncio.Lock()
        self._waiting = 0

    def start(self, packed: bytes, tell: Tell) -> GiveUp | None:
        """Send one packed command at once, if nobody has to wait for the connection (`Starter.start`)."""
        link = self._link
        if link is None or link.is_lost or self._waiting:
            return None
        link.send_for(tell, packed)
        return link.lose

    async def execute_command(self, *words: Any, asking: bool = False, wait_ms: int = 0, **_options: Any) -> Any:
        """Send one command and return its reply; raises redis-py's errors.

        `asking` says that the server is about to get the slot. With `wait_ms` the reply counts only once a replica has
        what this connection wrote; `NotReplicated` if none has within that time.
        """
        packed = hiredis.pack_command(words)
        if not asking and not wait_ms:
            return (await self._execute((packed,)))[0]
        wait: tuple[Any, ...] = ("WAIT", 1, wait_ms)
        commands = [_ASKING] * asking + [packed] + [hiredis.pack_command(wait)] * bool(wait_ms)
        replies = (await self._execute(commands))[asking:]
        if wait_ms and not replies[1]:
            raise NotReplicated(f"no replica has it after {wait_ms} ms")
        return replies[0]

    async def _execute(self, packed: Sequence[bytes]) -> list[Any]:
        link = self._link
        if link is None or link.is_lost or self._waiting:
            # Also those who come while others wait for the connection, so that nobody overtakes them.
            self._waiting += 1
            try:
                async with self._connecting:
                    link = await self._connected()
                    replies = [link.send(command) for command in packed]
            finally:
                self._waiting -= 1
        else:
            replies = [link.send(command) for command in packed]
        try:
            return [await reply for reply in replies]
        except asyncio.CancelledError as error:
            link.lose(error)
            raise

    async def _connected(self) -> "_Link":
        if self._link is None or self._link.is_lost:
            connection = self._make_connection()
            try:
                await connection.connect()
            except BaseException:
                # redis-py leaves the socket open when whoever connects gives up in the middle of it.
                await connection.disconnect(nowait=True)
                raise
            self._link = _Link(connection)
        return self._link

    async def aclose(self) -> None:
        """Close the connection; whoever waits for a reply gets an error."""
        if self._link is not None:
            self._link.lose(ConnectionAbortedError("closed"))
            self._link = None


class _Link(asyncio.Protocol):
    """What has become of a connection of redis-py's: its transport, a parser, and the replies that are owed."""

    def __init__(self, connection: Any) -> None:
        # The streams are taken away from the connection, which would read, and complain of being left open.
        self._writer, connection._writer, connection._reader = connection._writer, None, None  # noqa: SLF001
        self._transport = self._writer.transport
        self._transport.set_protocol(self)
        self._parser = hiredis.Reader(replyError=BaseParser.parse_error)
        self._pending: deque[Tell] = deque()
        self._handed_out = 0
        self._loop = asyncio.get_running_loop()
        self._watch: asyncio.TimerHandle | None = None
        self.is_lost = False

    def send(self, packed: bytes) -> Reply:
        """Send a command; the reply fails with redis-py's errors."""
        reply: Reply = self._loop.create_future()
        self.send_for(partial(_settle, reply), packed)
        return reply

    def send_for(self, tell: Tell, packed: bytes) -> None:
        """Send a command; `tell` hears the reply, or redis-py's error."""
        self._pending.append(tell)
        if self._watch is None:
            self._watch = self._loop.call_later(REPLY_LIMIT_S, self._give_up, self._handed_out)
        self._transport.write(packed)

    def data_received(self, data: bytes) -> None:
        """Hand out replies, in the order of the commands."""
        try:
            self._parser.feed(data)
            while (answer := self._parser.gets()) is not False:
                self._hand_out(answer)
        except (hiredis.HiredisError, IndexError) as error:  # no protocol, or an answer that nobody asked for
            self.lose(error)

    def _hand_out(self, answer: Any) -> None:
        if isinstance(answer, hiredis.PushNotification):
            return
        tell = self._pending.popleft()
        self._handed_out += 1
        _tell(tell, answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail what is owed: whatever was sent may have run."""
        self.lose(exc or ConnectionResetError("the server closed it"))

    def _give_up(self, handed_out: int) -> None:
        """End a link whose reply is owed for too long; look again at the one that is owed now. One timer at a time."""
        self._watch = None
        if not self._pending:
            return
        if self._handed_out == handed_out:
            self.lose(TimeoutError("no reply"))
        else:
            self._watch = self._loop.call_later(REPLY_LIMIT_S, self._give_up, self._handed_out)

    def lose(self, error: BaseException) -> None:
        """Close a link that can no longer be trusted."""
        if self.is_lost:
            return
        self.is_lost = True
        if self._watch is not None:
            self._watch.cancel()
        self._transport.abort()
        pending, self._pending = self._pending, deque()
        for tell in pending:
            _tell(tell, RedisConnectionError(f"the connection was lost before the reply came: {error}"))


def _tell(tell: Tell, answer: Any) -> None:
    """Tell a reply; a bug of whoever hears it must not cost the others theirs."""
    try:
        tell(answer)
    except Exception:
        log.exception("a reply could not be told")


def _settle(reply: Reply, answer: Any) -> None:
    if reply.done():
        return
    if isinstance(answer, Exception):
        reply.set_exception(answer)
        reply.exception()  # Marked as seen: the caller may have gone.
    else:
        reply.set_result(answer)
