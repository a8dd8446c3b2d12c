"""The load generator of the benchmarks against a real sidecar: what it counts has happened."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.suite.callers import UnexpectedAnswer
from bench.suite.generator import run
from bench.suite.loads import Load, Users, Wire
from bench.suite.loops import due_times
from bench.suite.rule_sets import SPENT_TIER, rules
from bench.suite.subjects import Subject, running_sidecar

OPERATIONS = 192
PATIENCE_S = 60.0
STALL_S = 0.5
RECEIVE_BYTES = 65536
STREAM = {"wire": Wire.STREAM, "connections": 1}


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory, valkey_url: str) -> Iterator[Subject]:
    """Provide a sidecar with the rules of the suite."""
    with running_sidecar(tmp_path_factory.mktemp("bench") / "load", valkey_url, rules()) as running:
        yield running


def operations_of(sidecar: Subject) -> float:
    """Return how many decisions and settlements the sidecar has counted."""
    names = ("spendgate_decisions_total{", "spendgate_settlements_total{")
    lines = [line for line in sidecar.metrics().splitlines() if line.startswith(names)]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


@pytest.mark.parametrize(
    ("fields", "operations"),
    [
        ({}, OPERATIONS),
        ({"over_socket": True}, OPERATIONS),
        ({"wire": Wire.MSGPACK}, OPERATIONS),
        ({**STREAM, "slots": 32}, OPERATIONS),
        ({**STREAM, "slots": 2, "per_frame": 64}, OPERATIONS),
        ({"pairs": True}, 2 * OPERATIONS),
        ({**STREAM, "slots": 2, "per_frame": 8, "pairs": True}, 2 * OPERATIONS),
        ({"tier": SPENT_TIER, "decision": "block"}, OPERATIONS),
        ({"users": Users.ZIPF, "user_count": 10_000}, OPERATIONS),
        ({"users": Users.EACH_ONCE, "user_count": OPERATIONS}, OPERATIONS),
    ],
    ids=str,
)
def test_every_operation_is_counted_once(sidecar: Subject, fields: dict[str, Any], operations: int) -> None:
    """On every wire the generator counts as many answers as the sidecar has made, none degraded."""
    wanted = {"connections": 4, **fields}
    address = sidecar.socket if wanted.pop("over_socket", False) else str(sidecar.port)
    before = operations_of(sidecar)

    result = run(Load(address=address, at_most=OPERATIONS, seconds=PATIENCE_S, **wanted))

    assert operations == result["operations"] == operations_of(sidecar) - before


def test_a_wrong_decision_ends_the_run(sidecar: Subject) -> None:
    """Throughput of refusals is not passed off as throughput of admissions."""
    with pytest.raises(UnexpectedAnswer, match='"decision":"block"'):
        run(Load(address=str(sidecar.port), connections=1, tier=SPENT_TIER, at_most=1, seconds=PATIENCE_S))


def test_an_open_loop_sends_what_is_due(sidecar: Subject) -> None:
    """As many as were drawn, whatever became of those before."""
    load = Load(address=str(sidecar.port), connections=4, seconds=0.2, rate_per_second=500)

    assert len(due_times(load)) == run(load)["operations"]


def serve_after_a_stall(listening: socket.socket) -> None:
    """Answer the requests of one connection; the first only after a stall."""
    connection, _ = listening.accept()
    body = b'{"degraded":false,"decision":"allow"}'
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    with connection:
        connection.recv(RECEIVE_BYTES)
        threading.Event().wait(STALL_S)
        connection.sendall(answer)
        while connection.recv(RECEIVE_BYTES):
            connection.sendall(answer)


def test_a_stall_is_charged_to_all_who_were_due_in_it(tmp_path: Path) -> None:
    """No coordinated omission: who could not even ask during the stall has waited as well."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        threading.Thread(target=serve_after_a_stall, args=(listening,), daemon=True).start()
        load = Load(address=str(path), connections=1, seconds=STALL_S / 5, rate_per_second=200)
        result = run(load)

    assert len(due_times(load)) > 1
    assert result["p50_ms"] > STALL_S * 1000 / 2
