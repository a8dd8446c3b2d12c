"""Rules that are pushed over HTTP, read back and refused, and the tokens that guard both."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgpack
import orjson
import pytest
import pytest_asyncio

from tests.support.edge import Edge, running_edge

PUSH_TOKEN = "push-token-of-a-test"
DECISION_TOKEN = "decision-token-of-a-test"
PUSH = {"Authorization": f"Bearer {PUSH_TOKEN}"}
CHECK = {"user_id": "alice", "request_id": "c-1", "cost_usd": 1}


@pytest_asyncio.fixture(loop_scope="function")
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    """An edge that accepts pushes and small bodies only."""
    async with running_edge(tmp_path, push_token=PUSH_TOKEN, max_body_bytes=4096) as running:
        yield running


async def test_a_pushed_rule_set_is_in_force_at_once(edge: Edge) -> None:
    """The next decision follows it, and reading it gives its revision as ETag."""
    pushed = {"revision": 8, "rules": [{"kind": "user_override", "key": "alice", "limit_usd": 0, "action": "block"}]}
    answer = await edge.call("PUT", "/v1/rules", json=pushed, headers=PUSH)
    assert (200, {"revision": 8, "rules": 1, "changed": True}) == answer
    assert "block" == (await edge.post("check", CHECK))[1]["decision"]
    async with edge.session.get(f"{edge.url}/v1/rules") as response:
        assert ('"8"', 8) == (response.headers["ETag"], (await response.json())["revision"])


async def test_the_rules_that_are_read_can_be_pushed_again(edge: Edge) -> None:
    """What comes out is what goes in, and changes nothing."""
    _, document = await edge.call("GET", "/v1/rules")
    answer = await edge.call("PUT", "/v1/rules", json=document, headers=PUSH)
    assert (200, False) == (answer[0], answer[1]["changed"])


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/yaml", b"revision: 9\nrules: []\n"),
        ("application/msgpack", msgpack.packb({"revision": 9, "rules": []})),
        ("application/json", orjson.dumps({"revision": 9, "rules": []})),
    ],
)
async def test_rules_are_pushed_in_three_formats(edge: Edge, content_type: str, body: bytes) -> None:
    """JSON, MessagePack and the YAML of a rule file."""
    headers = {**PUSH, "Content-Type": content_type, "Accept": "application/json"}
    status, answer = await edge.call("PUT", "/v1/rules", data=body, headers=headers)
    assert (200, 9) == (status, answer["revision"])


async def test_a_wrong_rule_set_lists_every_fault(edge: Edge) -> None:
    """Each with its path; the old one stays in force."""
    pushed = {"revision": 8, "rules": [{"kind": "nobody", "key": "x", "limit_usd": 1}, {"kind": "tier_template"}]}
    status, problem = await edge.call("PUT", "/v1/rules", json=pushed, headers=PUSH)
    paths = [fault["path"] for fault in problem["faults"]]
    assert (400, ["rules[0].kind", "rules[1].key", "rules[1].limit_usd"]) == (status, paths)
    assert 7 == edge.rules.current.revision


@pytest.mark.parametrize(
    ("document", "status", "code"),
    [
        ({"rules": []}, 400, "invalid_field"),
        ({"revision": 6, "rules": []}, 409, "stale_revision"),
        ({"revision": 7, "rules": []}, 409, "stale_revision"),
    ],
)
async def test_a_push_must_state_a_newer_revision(edge: Edge, document: object, status: int, code: str) -> None:
    """None, an older one, and the same one with other content are refused."""
    found, problem = await edge.call("PUT", "/v1/rules", json=document, headers=PUSH)
    assert (status, code) == (found, problem["code"])


@pytest.mark.parametrize("header", [{}, {"Authorization": f"Bearer {PUSH_TOKEN}x"}, {"Authorization": PUSH_TOKEN}])
async def test_a_push_needs_its_token(edge: Edge, header: dict[str, str]) -> None:
    """A missing or wrong token is a 401 that names the scheme."""
    async with edge.session.put(f"{edge.url}/v1/rules", json={}, headers=header) as response:
        assert (401, "Bearer") == (response.status, response.headers["WWW-Authenticate"])


async def test_without_a_token_nobody_may_push(tmp_path: Path) -> None:
    """No token configured does not mean that none is needed."""
    async with running_edge(tmp_path) as edge:
        status, problem = await edge.call("PUT", "/v1/rules", json={"revision": 8, "rules": []}, headers=PUSH)
    assert (403, "push_disabled") == (status, problem["code"])


async def test_beside_a_rule_file_nobody_may_push(tmp_path: Path) -> None:
    """The file would undo the push at its next change."""
    async with running_edge(tmp_path, push_token=PUSH_TOKEN, rules="budgets.yaml") as edge:
        status, problem = await edge.call("PUT", "/v1/rules", json={"revision": 8, "rules": []}, headers=PUSH)
    assert (409, "rules_from_file") == (status, problem["code"])


async def test_a_decision_token_guards_every_read_and_decision(tmp_path: Path) -> None:
    """Without it 401, with it an answer."""
    async with running_edge(tmp_path, decision_token=DECISION_TOKEN) as edge:
        refused = [(await edge.post("check", CHECK))[0], (await edge.call("GET", "/v1/rules"))[0]]
        served, _ = await edge.post("check", CHECK, headers={"Authorization": f"Bearer {DECISION_TOKEN}"})
    assert ([401, 401], 200) == (refused, served)


async def test_a_decision_token_pushes_no_rules(tmp_path: Path) -> None:
    """Who may spend may not raise the limits."""
    async with running_edge(tmp_path, decision_token=DECISION_TOKEN, push_token=PUSH_TOKEN) as edge:
        header = {"Authorization": f"Bearer {DECISION_TOKEN}"}
        status, _ = await edge.call("PUT", "/v1/rules", json={"revision": 8, "rules": []}, headers=header)
    assert 401 == status
