"""Answers to requests whose head is known byte for byte: it was read before, checked and answered.

An app's client sends the same head with every call of one kind and length. What aiohttp found in it, and that it may
call, holds for the next one as well; only the body is new (docs/decisions/0062).
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from aiohttp import HttpVersion11, web

from ledger.decisions import Decision, Operation, Settlement
from sidecar.api.bodies import JSON, MSGPACK, decode_body, encode_body
from sidecar.api.decisions import answers_msgpack
from sidecar.api.decode import decode_request
from sidecar.api.encode import encode_answer
from sidecar.api.problems import PROBLEM_JSON, find_problem, problem_body
from sidecar.api.whole_answer import answer_bytes
from sidecar.enforcer import Enforcer
from sidecar.metrics import Metrics

MAX_HEADS: Final = 1024
"""Known heads; when full, the one unused for longest goes: callers whose every call has another header push out only
each other's."""
MAX_HEAD_BYTES: Final = 2048
OPERATIONS: Final = {
    f"/v1/{name}": name
    for name in (Operation.CHECK, Operation.RESERVE, Operation.SETTLE, Operation.RELEASE, Operation.EXTEND)
}
UNUSUAL: Final = ("Content-Encoding", "Expect", "Transfer-Encoding", "Upgrade")
"""Headers that change how a body is read, or what comes after it."""

Write = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class KnownHead:
    """What a head says: the operation, how its body is written and how long it is in bytes, the format to answer in."""

    operation: Operation
    content_type: str
    length: int
    as_msgpack: bool


class QuickAnswers:
    """One for all connections of a listener."""

    def __init__(self, enforcer: Enforcer, metrics: Metrics) -> None:
        self._enforcer = enforcer
        self._metrics = metrics
        self._heads: OrderedDict[bytes, KnownHead] = OrderedDict()

    def find(self, head: bytes) -> KnownHead | None:
        """Return what a head says that was learned; the head ends with its empty line."""
        known = self._heads.get(head)
        if known is not None:
            self._heads.move_to_end(head)
        return known

    def learn(self, head: bytes, request: web.BaseRequest) -> None:
        """Remember the head of a request that was allowed in and answered, if it asks for one operation, plainly."""
        operation, length = OPERATIONS.get(request.raw_path), request.content_length
        if operation is None or request.method != "POST" or length is None or len(head) > MAX_HEAD_BYTES:
            return
        if request.version != HttpVersion11 or not request.keep_alive:
            return
        if any(name in request.headers for name in UNUSUAL):
            return
        self._heads[head] = KnownHead(operation, request.content_type, length, answers_msgpack(request))
        if len(self._heads) > MAX_HEADS:
            self._heads.popitem(last=False)

    def start(self, known: KnownHead, body: bytes, write: Write) -> bool:
        """Answer a request later, by calling `write` with the whole answer; False for a body that is wrong."""
        try:
            request = decode_request(known.operation, decode_body(body, known.content_type))
        except Exception:  # Whatever it is, it is told, and logged if it is ours, by the general way.
            return False
        self._enforcer.start(request, partial(self._answered, known, write))
        return True

    def _answered(self, known: KnownHead, write: Write, answer: Decision | Settlement | Exception) -> None:
        if isinstance(answer, Exception):
            write(self._problem(known, answer))
            return
        try:
            body = encode_body(encode_answer(answer), as_msgpack=known.as_msgpack)
        except Exception as error:
            write(self._problem(known, error))
        else:
            write(answer_bytes(body, MSGPACK if known.as_msgpack else JSON))

    def _problem(self, known: KnownHead, error: Exception) -> bytes:
        fields = find_problem(error, f"/v1/{known.operation}", self._metrics)
        return answer_bytes(problem_body(fields), PROBLEM_JSON, status=fields["status"])
