"""Connections that break: an operation is repeated once, under its own request id."""

import json
import socket
import threading
from collections.abc import Iterator

import pytest
from spendgate import AsyncSpendgate, Spendgate, SpendgateUnavailableError
from spendgate.testing import FakeSidecar

from tests.support.sdk_gates import TIMEOUT_S

CHUNK_BYTES = 65536


class Faulty:
    """A server that reads each request and drops the first `drops` connections without an answer."""

    def __init__(self, drops: int) -> None:
        self.drops = drops
        self.request_ids: list[str] = []
        self._sidecar = FakeSidecar()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        while True:
            connection, _ = self._listening.accept()
            with connection:
                head, _, body = connection.recv(CHUNK_BYTES).partition(b"\r\n\r\n")
                if not head:
                    return
                while b"}" not in body:
                    body += connection.recv(CHUNK_BYTES)
                self.request_ids.append(json.loads(body)["request_id"])
                if len(self.request_ids) > self.drops:
                    connection.sendall(self._answer(head.split()[1].decode(), body))

    def _answer(self, path: str, body: bytes) -> bytes:
        reply = self._sidecar.send(path, json.loads(body))
        answer = json.dumps(reply.document).encode()
        head = f"HTTP/1.1 {reply.status} OK\r\nConnection: close\r\nContent-Length: {len(answer)}\r\n\r\n"
        return head.encode() + answer

    def __enter__(self) -> "Faulty":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with socket.create_connection(self._listening.getsockname()):
            pass
        self._thread.join()
        self._listening.close()


@pytest.fixture
def broken_once() -> Iterator[Faulty]:
    """A server that drops one connection."""
    with Faulty(drops=1) as server:
        yield server


async def test_a_broken_connection_is_not_noticed(broken_once: Faulty) -> None:
    """Both clients ask once more, with the same id, so that nothing is charged twice."""
    with Spendgate(broken_once.url, timeout_s=TIMEOUT_S) as gate:
        assert gate.check("user-1", cost_usd="0.1").allowed
    broken_once.drops = 3
    async with AsyncSpendgate(broken_once.url, timeout_s=TIMEOUT_S) as awaiting:
        assert (await awaiting.check("user-1", cost_usd="0.1")).allowed

    first, again, second, second_again = broken_once.request_ids
    assert (True, True, True) == (first == again, second == second_again, first != second)


def test_it_is_not_asked_for_ever() -> None:
    """A server that drops every connection is no sidecar: the failure policy decides."""
    with Faulty(drops=100) as server, Spendgate(server.url, timeout_s=TIMEOUT_S) as gate:
        with pytest.raises(SpendgateUnavailableError):
            gate.check("user-1", cost_usd="0.1")

        assert 2 == len(server.request_ids)


def test_what_answers_may_be_no_sidecar(broken_once: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that is none is treated as no answer, not as an allowance."""
    monkeypatch.setattr(broken_once, "_answer", lambda *_: b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
    with Spendgate(broken_once.url, timeout_s=TIMEOUT_S) as gate, pytest.raises(SpendgateUnavailableError):
        gate.check("user-1", cost_usd="0.1")
