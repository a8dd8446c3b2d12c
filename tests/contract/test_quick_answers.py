"""Requests with a known head are answered like any other: decisions, settlements, problems, and faults of ours."""

import msgpack
import orjson
import pytest

from ledger.errors import StoreUnavailable
from sidecar.api import quick_answers
from tests.support.edge import Edge
from tests.support.raw_caller import CHECK, Answer, Caller, check, post

LIFE = [
    ("reserve", {"user_id": "alice", "request_id": "r-{}", "estimate_usd": 1}),
    ("extend", {"user_id": "alice", "request_id": "r-{}", "ttl_s": 60}),
    ("settle", {"user_id": "alice", "request_id": "r-{}", "cost_usd": "0.5"}),
    ("release", {"user_id": "alice", "request_id": "r-{}"}),
    (
        "check",
        {"user_id": "alice", "request_id": "c-{}", "usage": {"model": "gpt-5", "input_tokens": 9, "output_tokens": 9}},
    ),
]


def _lives(number: int) -> list[tuple[str, str]]:
    return [(name, orjson.dumps(body).decode().replace("{}", str(number))) for name, body in LIFE]


@pytest.mark.parametrize("is_msgpack", [False, True])
async def test_every_operation_is_answered_as_before(caller: Caller, quick: list[bytes], is_msgpack: bool) -> None:
    """Decisions, settlements and problems, in both formats, but for the numbers that count up."""
    headers = ["Content-Type: application/msgpack"] if is_msgpack else []
    seen: list[list[Answer]] = []
    for number in range(2):
        texts = _lives(number)
        bodies = [msgpack.packb(orjson.loads(text)) if is_msgpack else text.encode() for _, text in texts]
        requests = [post(name, None, *headers, raw=body) for (name, _), body in zip(texts, bodies, strict=True)]
        seen.append([(await caller.ask(request))[0] for request in requests])
    statuses = [[status for status, _, _ in answers] for answers in seen]
    assert [[200, 200, 200, 409, 200]] * 2 == statuses
    for first, second in zip(*seen, strict=True):
        assert first[:2] == second[:2]
        assert first[2].keys() == second[2].keys()
    assert 4 == len(quick), "the release was refused and so its head is not known"


async def test_a_wrong_body_under_a_known_head_is_a_problem(caller: Caller, quick: list[bytes]) -> None:
    """It names the field, nothing is charged, and the connection goes on."""
    await caller.ask(check(0))
    wrong = check(1).replace(b'"cost_usd":0.25', b'"cost_usd":-.25')
    negative = check(1).replace(b'"cost_usd":0.25', b'"cost_usd":-2.5')
    answers = await caller.ask(wrong) + await caller.ask(negative) + await caller.ask(check(2))
    assert [(400, "invalid_body"), (400, "invalid_field")] == [
        (status, answer["code"]) for status, _, answer in answers[:2]
    ]
    assert 0.5 == answers[2][2]["spend_usd"]
    assert 1 == len(quick)


async def test_problems_of_the_ledger_are_told_as_before(caller: Caller, edge: Edge, quick: list[bytes]) -> None:
    """Another body under a known id, by aiohttp's way and by the quick one; and both are counted."""
    await caller.ask(check(0))
    quickly = (await caller.ask(check(0, cost_usd=0.75)))[0]
    generally = (await caller.ask(post("check", {**CHECK, "request_id": "c-000000", "cost_usd": 0.75}, "X-Other: 1")))[
        0
    ]
    assert quickly == generally
    assert 422 == quickly[0]
    assert 1 == len(quick)
    async with edge.session.get(f"{edge.admin_url}/metrics") as response:
        assert 'spendgate_problems_total{code="request_mismatch"} 2.0' in await response.text()


async def test_without_the_store_the_rules_answer(caller: Caller, edge: Edge, quick: list[bytes]) -> None:
    """Degraded decisions, accepted settles, and refused extends."""
    reserve = post("reserve", {"user_id": "alice", "request_id": "r-1", "estimate_usd": 1})
    settle = post("settle", {"user_id": "alice", "request_id": "r-1", "cost_usd": 1})
    await caller.ask(check(0))
    for request in (reserve, post("extend", {"user_id": "alice", "request_id": "r-1"}), settle):
        await caller.ask(request)
    edge.ledger.failure = StoreUnavailable("gone")
    degraded = await caller.ask(check(1), settle, post("extend", {"user_id": "alice", "request_id": "r-1"}))
    assert [(200, True), (200, True), (503, None)] == [(code, body.get("degraded")) for code, _, body in degraded]
    assert 3 == len(quick)


async def test_a_fault_in_counting_is_not_the_callers(
    caller: Caller, edge: Edge, monkeypatch: pytest.MonkeyPatch, quick: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """What the store has decided is told before it is counted; the fault is in the log."""

    def fail(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    reserve = post("reserve", {"user_id": "alice", "request_id": "r-1", "estimate_usd": 1})
    settle = post("settle", {"user_id": "alice", "request_id": "r-1", "cost_usd": 1})
    for request in (check(0), reserve, settle):
        await caller.ask(request)
    monkeypatch.setattr(edge.enforcer._metrics, "record_decision", fail)
    monkeypatch.setattr(edge.enforcer._metrics, "record_settlement", fail)
    assert [200, 200, 200] == [status for status, _, _ in await caller.ask(check(1), reserve, settle)]
    assert 3 == len(quick)
    assert 3 == caplog.text.count("RuntimeError: a fault of ours")


async def test_an_error_of_ours_is_told(
    caller: Caller, edge: Edge, monkeypatch: pytest.MonkeyPatch, quick: list[bytes]
) -> None:
    """Before the store is asked or after it has answered: 500, not a connection that waits for ever."""

    def fail(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    reserve = post("reserve", {"user_id": "alice", "request_id": "r-1", "estimate_usd": 1})
    settle = post("settle", {"user_id": "alice", "request_id": "r-1", "cost_usd": 1})
    await caller.ask(check(0))
    await caller.ask(reserve)
    await caller.ask(settle)
    with monkeypatch.context() as broken:
        broken.setattr(quick_answers, "encode_answer", fail)
        assert [500, 500, 500] == [status for status, _, _ in await caller.ask(check(1), reserve, settle)]
    assert 3 == len(quick)
    with monkeypatch.context() as broken:
        broken.setattr(quick_answers, "decode_request", fail)
        caller.writer.write(check(2) + check(3))
        assert [200, 200] == [(await caller.answer())[0] for _ in range(2)]
