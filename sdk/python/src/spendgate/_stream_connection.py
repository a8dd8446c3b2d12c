"""One stream over a blocking socket, for any number of threads.

No thread is needed for it: of the callers that wait, one reads for all, and hands that over when its own answer came.
"""

import contextlib
import select
import socket
import ssl
import threading
import time

import httpcore2

from spendgate._exchange import Exchange, Reply
from spendgate._stream_wire import MAX_IN_FLIGHT, Broken, Refused, StreamWire, entry

CHUNK_BYTES = 64 * 1024
NOT_READY = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Waiter:
    """One operation in flight. `wakes` is set for an answer, for the end, and to take over reading."""

    __slots__ = ("has_left", "reply", "wakes")

    def __init__(self) -> None:
        self.reply: Reply | None = None
        self.has_left = False
        self.wakes = threading.Event()


class StreamConnection:
    """An open stream. What breaks in the middle of a frame ends it, so no answer is ever taken for another one."""

    def __init__(self, connected: socket.socket, wire: StreamWire) -> None:
        self._socket = connected
        self._wire = wire
        self._failure: Broken | Refused | None = None
        self._waiting: dict[int, Waiter] = {}
        self._room = threading.Semaphore(MAX_IN_FLIGHT)
        self._next_number = 0
        self._users = 0
        self._is_read = False
        self._is_retired = False
        self._heard_s = 0.0
        self._state = threading.Lock()
        self._writing = threading.Lock()
        self._touching = threading.Lock()

    def open(self, deadline_s: float) -> None:
        """Shake hands; raises `Broken`, `Refused` and `TimeoutError`, after which it is closed."""
        try:
            self._flush(deadline_s)
            while not self._wire.is_open and self._failure is None:
                self._receive(deadline_s)
        except BaseException:
            self._end(Broken("it was not opened"))
            raise
        if self._failure is not None:
            raise self._failure

    def is_usable(self) -> bool:
        """Say whether it can be asked. Hears first what came while nobody read: a ping, or the end."""
        with self._state:
            if self._failure is not None or self._is_retired:
                return False
            if self._is_read:
                return True
            self._is_read = True
            self._users += 1
        try:
            while self._failure is None:
                self._receive(0.0)
        except (TimeoutError, Broken):
            pass
        finally:
            self._leave(reads=True)
        return self._failure is None

    def ask(self, operation: bytes, timeout_s: float) -> Reply:
        """Return the answer; raises `Broken`, `Refused` if the sidecar closed it over a frame, and `TimeoutError`."""
        started_s = time.monotonic()
        deadline_s = started_s + timeout_s
        if not self._room.acquire(timeout=timeout_s):
            raise TimeoutError
        waiter = self._join(operation)
        try:
            self._flush(deadline_s)
            return self._wait(waiter, deadline_s)
        except TimeoutError:
            waiter.has_left = True
            if self._heard_s < started_s:
                self._end(Broken("nothing comes any more"))
            raise
        except BaseException:
            self._end(Broken("its caller was interrupted"))
            raise
        finally:
            self._leave(reads=False)

    def retire(self) -> None:
        """Take no more operations, and close when those in flight are answered."""
        with self._state:
            self._users += 1
            self._is_retired = True
        self._leave(reads=False)

    def close(self) -> None:
        """Say goodbye and close it."""
        with self._state:
            self._users += 1
            self._wire.close()
        with contextlib.suppress(TimeoutError, Broken):
            self._flush(0.0)
        self._end(Broken("it was closed"))
        self._leave(reads=False)

    def forget(self) -> None:
        """Close this process's copy of a socket that is the parent's."""
        self._socket.close()

    def _join(self, operation: bytes) -> Waiter:
        waiter = Waiter()
        with self._state:
            if self._failure is not None:
                self._room.release()
                raise self._failure
            self._users += 1
            self._waiting[self._next_number] = waiter
            self._wire.ask([entry(self._next_number, operation)])
            self._next_number += 1
        return waiter

    def _wait(self, waiter: Waiter, deadline_s: float) -> Reply:
        while waiter.reply is None:
            with self._state:
                if self._failure is not None:
                    raise self._failure
                reads = not self._is_read
                self._is_read = True
            if reads:
                try:
                    while waiter.reply is None and self._failure is None:
                        self._receive(deadline_s)
                finally:
                    self._is_read = False
            elif waiter.wakes.wait(deadline_s - time.monotonic()):
                waiter.wakes.clear()
            else:
                raise TimeoutError
        return waiter.reply

    def _leave(self, *, reads: bool) -> None:
        """Hand reading over to one of those that still wait; who leaves last closes what has ended."""
        with self._state:
            self._users -= 1
            if reads:
                self._is_read = False
            if self._is_retired and self._users == 0 and self._failure is None:
                self._fail(Broken("its sidecar ends"))
            elif self._failure is not None:
                if self._users == 0:
                    self._socket.close()
            elif not self._is_read:
                for waiter in self._waiting.values():
                    if not waiter.has_left:
                        waiter.wakes.set()
                        break

    def _receive(self, deadline_s: float) -> None:
        """Hand out what arrives next; raises `TimeoutError`, and `Broken` if the connection failed."""
        try:
            data = self._read(deadline_s)
        except TimeoutError:
            raise
        except OSError as error:
            data = b""
            self._end(Broken(str(error)))
        with self._state:
            if self._failure is not None:
                return
            self._heard_s = time.monotonic()
            try:
                replies = self._wire.receive(data)
            except (Broken, Refused) as failure:
                self._fail(failure)
                return
            for number, reply in replies:
                self._answer(number, reply)
            owes, has_ended = self._wire.owes_pong, self._wire.has_ended
        if owes or has_ended:
            with contextlib.suppress(TimeoutError, Broken):
                self._flush(deadline_s)
        if has_ended:
            self._end(self._wire.end())

    def _answer(self, number: int, reply: Reply) -> None:
        waiter = self._waiting.pop(number, None)
        if waiter is not None:
            waiter.reply = reply
            waiter.wakes.set()
            self._room.release()

    def _read(self, deadline_s: float) -> bytes:
        while True:
            try:
                with self._touching:
                    return self._socket.recv(CHUNK_BYTES)
            except NOT_READY:
                self._wait_for(select.POLLIN, deadline_s)

    def _flush(self, deadline_s: float) -> None:
        """Send what is to be sent; raises `TimeoutError`, after which the connection has ended, and `Broken`."""
        if not self._writing.acquire(timeout=max(0.0, deadline_s - time.monotonic())):
            raise TimeoutError
        try:
            with self._state:
                data = self._wire.outgoing()
            while data:
                try:
                    with self._touching:
                        data = data[self._socket.send(data) :]
                except NOT_READY:
                    self._wait_for(select.POLLOUT, deadline_s)
        except OSError as error:  # also TimeoutError: part of a frame may have been sent
            failure = Broken(str(error) or "a frame could not be sent")
            self._end(failure)
            if isinstance(error, TimeoutError):
                raise
            raise failure from error
        finally:
            self._writing.release()

    def _wait_for(self, event: int, deadline_s: float) -> None:
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        poll = select.poll()
        poll.register(self._socket, event)
        if not poll.poll(left_s * 1000):
            raise TimeoutError

    def _end(self, failure: Broken | Refused) -> None:
        with self._state:
            if self._failure is None:
                self._fail(failure)

    def _fail(self, failure: Broken | Refused) -> None:
        """End it for all, with the lock held. Whoever polls the socket is woken; it is closed when nobody uses it."""
        self._failure = failure
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        if self._users == 0:
            self._socket.close()
        for waiter in self._waiting.values():
            waiter.wakes.set()
            self._room.release()


def connect(exchange: Exchange) -> socket.socket:
    """Return a connected socket that never blocks; raises `OSError`, also `TimeoutError`."""
    address = exchange.address
    if address.socket_path is None:
        connected = socket.create_connection((address.host, address.port), exchange.timeout_s)
    else:
        connected = socket.socket(socket.AF_UNIX)
    try:
        connected.settimeout(exchange.timeout_s)
        if address.socket_path is not None:
            connected.connect(address.socket_path)
        else:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if address.scheme == "https":
            connected = httpcore2.default_ssl_context().wrap_socket(connected, server_hostname=address.host)
        connected.settimeout(0)
    except BaseException:
        connected.close()
        raise
    return connected
