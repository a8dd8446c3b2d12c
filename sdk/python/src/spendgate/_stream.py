"""The stream to the sidecar for blocking code: one connection for all threads, opened when it is needed."""

import threading
import time

from spendgate import _forks
from spendgate._exchange import ATTEMPTS, Exchange, Fields, Reply, Unreachable
from spendgate._stream_connection import StreamConnection, connect
from spendgate._stream_wire import STOPPING, Broken, HttpInstead, Refused, StreamWire, packed
from spendgate._transport import Transport


class StreamTransport:
    """Operations over one WebSocket; over HTTP what a stream does not carry, and everything while it is refused."""

    def __init__(self, exchange: Exchange, http: Transport) -> None:
        self._exchange = exchange
        self._http = http
        self._http_instead = HttpInstead()
        self._connection: StreamConnection | None = None
        self._opening = threading.Lock()
        _forks.join(self)

    def send(self, path: str, fields: Fields | None = None) -> Reply:
        """Ask for an operation, or for what stands at a path; raises `Unreachable`."""
        operation = None if self._http_instead.is_on() else packed(path, fields)
        if operation is None:
            return self._http.send(path, fields)
        sent = False
        for attempt in range(1, ATTEMPTS + 1):
            connection = self._connected(sent=sent)
            if connection is None:
                break
            try:
                reply = connection.ask(operation, self._exchange.timeout_s)
            except TimeoutError:
                raise self._exchange.too_late(sent=True) from None
            except Refused as refusal:
                self._http_instead.begin(refusal)
                break
            except Broken as error:
                sent = True
                if attempt == ATTEMPTS:
                    raise self._exchange.unreachable(error, sent=True) from error
            else:
                if not is_stopping(reply):
                    return reply
                connection.retire()
        return self._over_http(path, fields, sent=sent)

    def close(self) -> None:
        """Close all connections; the next request opens one anew."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        self._http.close()

    def after_fork(self) -> None:
        """Leave the parent's connection to the parent."""
        connection, self._connection = self._connection, None
        self._opening = threading.Lock()
        if connection is not None:
            connection.forget()

    def _over_http(self, path: str, fields: Fields | None, *, sent: bool) -> Reply:
        try:
            return self._http.send(path, fields)
        except Unreachable as error:
            error.sent = error.sent or sent
            raise

    def _connected(self, *, sent: bool) -> StreamConnection | None:
        """Return a connection; None if the sidecar serves no stream now. Raises `Unreachable`."""
        connection = self._connection
        if connection is not None and connection.is_usable():
            return connection
        if not self._opening.acquire(timeout=self._exchange.timeout_s):
            raise self._exchange.too_late(sent=sent)
        try:
            connection = self._connection
            if connection is None or not connection.is_usable():
                self._connection = connection = self._open()
        except Refused as refusal:
            self._http_instead.begin(refusal)
            return None
        except TimeoutError:
            raise self._exchange.too_late(sent=sent) from None
        except (OSError, Broken) as error:
            raise self._exchange.unreachable(error, sent=sent) from error
        finally:
            self._opening.release()
        return connection

    def _open(self) -> StreamConnection:
        deadline_s = time.monotonic() + self._exchange.timeout_s
        connection = StreamConnection(connect(self._exchange), StreamWire(self._exchange))
        connection.open(deadline_s)
        return connection


def is_stopping(reply: Reply) -> bool:
    """Say whether the sidecar took nothing, because it ends: another one may be asked."""
    return reply.document is not None and reply.document.get("code") == STOPPING
