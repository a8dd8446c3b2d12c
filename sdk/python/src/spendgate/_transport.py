"""HTTP to the sidecar over blocking sockets, for any number of threads."""

import httpcore2

from spendgate import _forks
from spendgate._exchange import ATTEMPTS, FAILURES, Exchange, Fields, Reply
from spendgate._sockets import Sockets


class Transport:
    """A pool of kept-alive connections, made anew in a forked child."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._pool = self._new_pool()
        _forks.join(self)

    def send(self, path: str, fields: Fields | None = None) -> Reply:
        """POST `fields`, or GET without any; raises `Unreachable`."""
        failure = None
        for attempt in range(1, ATTEMPTS + 1):
            request = self._exchange.request(path, fields)
            try:
                response = self._pool.handle_request(request)
                try:
                    return Reply.of_json(response.status, response.read())
                finally:
                    response.close()
            except FAILURES as error:
                failure = self._exchange.give_up(attempt, error, failure)
        raise AssertionError("the last attempt returns or raises")

    def close(self) -> None:
        """Close all connections; the next request opens one anew."""
        self._pool.close()

    def after_fork(self) -> None:
        """Leave the parent's connections to the parent."""
        self._pool = self._new_pool()

    def _new_pool(self) -> httpcore2.ConnectionPool:
        return httpcore2.ConnectionPool(network_backend=Sockets(), **self._exchange.pool_options())
