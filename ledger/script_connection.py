"""One connection for scripts, pipelined: a batch may be sent before the one ahead of it was answered.

redis-py connects, authenticates and reads; packing is hiredis' own, in C, because redis-py's asyncio client packs
every argument in Python (docs/decisions/0006). Replies come in the order of
the commands, and one reader takes them all. A caller that gives up closes the connection, because a store that did
not answer in time is to be asked anew; so no reply can reach the wrong caller.
"""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import hiredis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

if TYPE_CHECKING:
    import redis.asyncio as redis

REPLY_LIMIT_S: Final = 15.0

Reply = asyncio.Future[Any]


class ScriptConnection:
    """A `CommandRunner` with the address of a client; connects on first use and after a loss.

    The caller bounds the whole call, and cancels it; `REPLY_LIMIT_S` is only the end of waiting for a caller whose
    cancellation was lost on the way (redis-py's handshake uses `asyncio.wait_for`, which can swallow one).
    """

    def __init__(self, client: "redis.Redis") -> None:
        self._make_connection: Any = client.connection_pool.make_connection
        self._connection: Any = None
        self._pending: deque[Reply] = deque()
        self._reader: asyncio.Task[None] | None = None
        self._sending = asyncio.Lock()

    async def execute_command(self, *words: Any, **_options: Any) -> Any:
        """Send one command and return its reply; raises redis-py's errors."""
        reply: Reply = asyncio.get_running_loop().create_future()
        packed = hiredis.pack_command(words)
        async with self._sending:
            connection = await self._send(packed, reply)
        try:
            async with asyncio.timeout(REPLY_LIMIT_S):
                return await reply
        except (asyncio.CancelledError, TimeoutError) as error:
            await self._lose(connection, error)
            raise

    async def _send(self, packed: bytes, reply: Reply) -> Any:
        if self._connection is None:
            connection = self._make_connection()
            await connection.connect()
            connection.socket_timeout = None
            self._connection = connection
        connection = self._connection
        self._pending.append(reply)
        try:
            await connection.send_packed_command(packed, check_health=False)
        except BaseException as error:
            await self._lose(connection, error)
            raise
        if self._reader is None and self._connection is connection:
            self._reader = asyncio.create_task(self._read(connection))
        return connection

    async def _read(self, connection: Any) -> None:
        """Read replies as long as any is owed."""
        try:
            while self._pending and connection is self._connection:
                answer = await _read_one(connection)
                reply = self._pending.popleft()
                if reply.done():
                    continue
                if isinstance(answer, ResponseError):
                    reply.set_exception(answer)
                else:
                    reply.set_result(answer)
        except (RedisError, OSError, TimeoutError) as error:
            await self._lose(connection, error)
        finally:
            if self._reader is asyncio.current_task():
                self._reader = None

    async def _lose(self, connection: Any, error: BaseException) -> None:
        """Close a connection that can no longer be trusted; whatever was sent on it may have run."""
        if connection is None or connection is not self._connection:
            return
        # All three belong together: the next connection has replies and a reader of its own.
        self._connection = None
        reader, self._reader = self._reader, None
        pending, self._pending = self._pending, deque()
        if reader is not None and reader is not asyncio.current_task():
            reader.cancel()
        for reply in pending:
            if not reply.done():
                reply.set_exception(RedisConnectionError(f"the connection was lost before the reply came: {error}"))
                reply.exception()  # Marked as seen: the caller may have gone.
        await connection.disconnect(nowait=True)

    async def aclose(self) -> None:
        """Close the connection; nobody may wait for a reply any more."""
        reader = self._reader
        await self._lose(self._connection, ConnectionAbortedError("closed"))
        if reader is not None:
            await asyncio.wait([reader])


async def _read_one(connection: Any) -> Any:
    """Return a reply, an error of the server's as a value."""
    try:
        return await connection.read_response(disconnect_on_error=False)
    except ResponseError as error:
        return error
