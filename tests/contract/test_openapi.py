"""The OpenAPI document: valid, complete, and true of what the sidecar answers and refuses."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from jsonschema import Draft202012Validator, ValidationError
from openapi_spec_validator import validate

from ledger.connection import PartitionMismatch, WrongTopology
from ledger.decisions import Operation
from ledger.errors import HoldConflict, InvalidInput, LedgerError, StoreUnavailable
from ledger.script_answers import CONFLICTS
from ledger.user_erasure import OpenHolds
from sidecar.api.decode import decode_batch, decode_request
from sidecar.api.openapi import openapi_document
from sidecar.api.openapi_examples import ANSWERS, REQUESTS
from sidecar.api.openapi_problems import STATUSES
from sidecar.api.problems import HTTP_CODES
from sidecar.app import make_admin_app, make_decision_app
from sidecar.metrics import Metrics
from sidecar.rule_cache import RuleCache
from sidecar.settings import Settings
from sidecar.workers import WorkersFailed
from tests.support.edge import Edge, running_edge

CONTROL_PLANE_CODES = frozenset({"credit_exceeds_spend", "history_gone", "log_not_followable", "revision_conflict"})
"""Codes of the ledger's error tree that only the control plane answers."""

NO_SIDECARS = ("controlplane.", "cli.", "ledger.repartition", "ledger.user_erasure")
"""Modules whose errors no operation of a sidecar answers, whoever imported them meanwhile."""

DOCUMENT = openapi_document()
HTTP_API = Path(__file__).parents[2] / "docs" / "http-api.md"
PUSH_TOKEN = "push-token-of-a-test"
CHECK = {"user_id": "alice", "request_id": "c-1", "cost_usd": 1}
RESERVE = {"user_id": "alice", "request_id": "r-1", "estimate_usd": 2}
NAMED = {"user_id": "alice", "request_id": "r-1"}
USAGE = {"model": "gpt-5", "input_tokens": 1, "output_tokens": 1}


@pytest_asyncio.fixture(loop_scope="function")
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    """A running edge that accepts pushes."""
    async with running_edge(tmp_path, push_token=PUSH_TOKEN) as running:
        yield running


def _check_schema(value: object, name: str) -> None:
    """Raise `ValidationError` unless a value is as the document says of the schema `name`."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    Draft202012Validator(schema).validate(value)


def _routes(app: web.Application) -> set[tuple[str, str]]:
    return {
        (route.method.lower(), route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD"
    }


def _documented(*, is_admin: bool) -> set[tuple[str, str]]:
    return {
        (method, path)
        for path, item in DOCUMENT["paths"].items()
        for method in item.keys() - {"servers"}
        if ("servers" in item) is is_admin
    }


def test_the_document_is_valid() -> None:
    """OpenAPI's own rules hold."""
    validate(DOCUMENT)


def test_every_route_for_decisions_is_documented_and_the_other_way_round() -> None:
    """No route without a description, no description without a route."""
    settings = Settings.read({"SPENDGATE_REDIS_URL": "redis://127.0.0.1"}, {})
    nothing: Any = object()
    app = make_decision_app(enforcer=nothing, recorder=nothing, rules=RuleCache(), settings=settings, metrics=Metrics())
    assert _routes(app) == _documented(is_admin=False)


def test_every_route_for_operators_is_documented_and_the_other_way_round() -> None:
    """The same of the admin listener."""
    app = make_admin_app(rules=RuleCache(), metrics=Metrics(), queue_depth=lambda: 0)
    assert _routes(app) == _documented(is_admin=True)


@pytest.mark.parametrize("operation", list(REQUESTS))
def test_the_examples_are_what_they_show(operation: Operation) -> None:
    """Each example is valid by its schema and read by the decoder."""
    _check_schema(REQUESTS[operation], f"{str(operation).capitalize()}Request")
    assert operation == decode_request(operation, REQUESTS[operation]).operation


@pytest.mark.parametrize(
    ("operation", "schema"),
    [("check", "Decision"), ("reserve", "Reservation"), ("settle", "Settlement"), ("putRules", "PushAnswer")],
)
def test_the_examples_of_answers_have_the_shape_of_answers(operation: str, schema: str) -> None:
    """Every field is there and of its type."""
    _check_schema(ANSWERS[operation], schema)


NO_ANSWERS = {PartitionMismatch.code, WrongTopology.code, WorkersFailed.code, OpenHolds.code}
"""Codes that a start or a command line ends with; no operation answers them."""


def _statuses(error: type[LedgerError]) -> dict[str, int]:
    is_foreign = error.code in CONTROL_PLANE_CODES or error.__module__.startswith(NO_SIDECARS)
    found = {} if is_foreign else {error.code: error.status}
    for kind in error.__subclasses__():
        found |= _statuses(kind)
    return found


def test_every_code_has_the_status_of_its_error() -> None:
    """Of the codes that an operation may answer; starting and conflicts by state have codes of their own."""
    elsewhere = {*NO_ANSWERS, HoldConflict.code}
    by_class = {code: status for code, status in _statuses(LedgerError).items() if code not in elsewhere}
    by_name = {"invalid_body": 400, "body_too_large": 413, "store_error": 503, **dict.fromkeys(CONFLICTS, 409)}
    assert {**by_class, **by_name} == STATUSES


def test_every_path_and_every_code_is_documented() -> None:
    """A caller finds each path and each problem it may meet in the document for people."""
    text = HTTP_API.read_text()
    words = {
        *DOCUMENT["paths"],
        *_statuses(LedgerError),
        *CONFLICTS,
        *HTTP_CODES.values(),
        "invalid_body",
        "store_error",
    }
    assert set() == {word for word in words - NO_ANSWERS if f"`{word}`" not in text and f" {word}`" not in text}


def test_every_reference_has_its_schema() -> None:
    """No name points nowhere."""
    referred: set[str] = set()

    def walk(value: object) -> None:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                referred.add(value["$ref"].rpartition("/")[2])
            for entry in value.values():
                walk(entry)
        elif isinstance(value, list):
            for entry in value:
                walk(entry)

    walk(DOCUMENT)
    assert referred <= DOCUMENT["components"]["schemas"].keys()


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("check", {"user_id": "alice", "cost_usd": "0.000000001", "tier": None, "usage": None, "meta": {"a": True}}),
        ("check", {"user_id": "alice", "usage": {**USAGE, "provider": None, "cache_read_tokens": 3}}),
        ("reserve", {**RESERVE, "ttl_s": 3600}),
        ("settle", {**NAMED, "cost_usd": 0, "reserved_at": "2026-01-31T11:00:00.123Z"}),
        ("release", NAMED),
        ("extend", {**NAMED, "ttl_s": 1}),
    ],
)
def test_schema_and_decoder_accept_the_same(operation: str, body: dict[str, Any]) -> None:
    """What the document promises to be read is read, alone and in a batch."""
    _check_schema(body, f"{operation.capitalize()}Request")
    decode_request(Operation(operation), body)
    batch = {"operations": [{"op": operation, **body}]}
    _check_schema(batch, "BatchRequest")
    assert not isinstance(decode_batch(batch)[0], InvalidInput)


@pytest.mark.parametrize(
    ("operation", "body"),
    [
        ("check", {"cost_usd": 1}),
        ("check", {"user_id": "alice"}),
        ("check", {"user_id": "", "cost_usd": 1}),
        ("check", {"user_id": "a" * 257, "cost_usd": 1}),
        ("check", {"user_id": "alice", "cost_usd": 1, "usage": USAGE}),
        ("check", {"user_id": "alice", "cost_usd": -1}),
        ("check", {"user_id": "alice", "cost_usd": True}),
        ("check", {"user_id": "alice", "cost_usd": "ten"}),
        ("check", {"user_id": "alice", "cost_usd": 8_000_001}),
        ("check", {"user_id": "alice", "cost_usd": 1, "tier": "*"}),
        ("check", {"user_id": "alice", "cost_usd": 1, "ttl_s": 60}),
        ("check", {"user_id": "alice", "cost_usd": 1, "meta": {"a": None}}),
        ("check", {"user_id": "alice", "usage": {"model": "gpt-5"}}),
        ("check", {"user_id": "alice", "usage": {**USAGE, "input_tokens": -1}}),
        ("reserve", {"user_id": "alice", "estimate_usd": 1}),
        ("reserve", {**RESERVE, "ttl_s": 3601}),
        ("settle", NAMED),
        ("settle", {**NAMED, "cost_usd": 1, "meta": {}}),
        ("release", {**NAMED, "cost_usd": 1}),
    ],
)
def test_schema_and_decoder_refuse_the_same(operation: str, body: dict[str, Any]) -> None:
    """What the document forbids is refused."""
    with pytest.raises(ValidationError):
        _check_schema(body, f"{operation.capitalize()}Request")
    with pytest.raises(InvalidInput):
        decode_request(Operation(operation), body)


@pytest.mark.parametrize(
    "body",
    [
        CHECK,
        {**CHECK, "cost_usd": 11},
        {**CHECK, "user_id": "carol"},
        {**CHECK, "user_id": "bob", "tier": "pro", "cost_usd": 60},
    ],
)
async def test_a_decision_is_as_described(edge: Edge, body: dict[str, Any]) -> None:
    """Allowed, blocked, without a rule, and a dry run with warnings."""
    _check_schema((await edge.post("check", body))[1], "Decision")


@pytest.mark.parametrize("estimate_usd", [2, 10, 11])
async def test_a_reservation_is_as_described(edge: Edge, estimate_usd: float) -> None:
    """Held, in the way of another one, and blocked."""
    for request_id in ("r-1", "r-2"):
        body = {**RESERVE, "request_id": request_id, "estimate_usd": estimate_usd}
        _check_schema((await edge.post("reserve", body))[1], "Reservation")


async def test_a_degraded_answer_is_as_described(edge: Edge) -> None:
    """Without the store there are no budgets to show."""
    edge.ledger.failure = StoreUnavailable("gone")
    _check_schema((await edge.post("check", CHECK))[1], "Decision")
    _check_schema((await edge.post("reserve", RESERVE))[1], "Reservation")


@pytest.mark.parametrize("operation", ["settle", "release", "extend"])
async def test_a_settlement_is_as_described(edge: Edge, operation: str) -> None:
    """Whatever became of the hold."""
    await edge.post("reserve", RESERVE)
    body = {**NAMED, "cost_usd": 1} if operation == "settle" else NAMED
    _check_schema((await edge.post(operation, body))[1], "Settlement")


async def test_a_batch_is_as_described(edge: Edge) -> None:
    """Answers of each kind, and a problem."""
    entries = [{"op": "check", **CHECK}, {"op": "reserve", **RESERVE}, {"op": "extend", **NAMED}, {"op": "none"}]
    _, answer = await edge.post("batch", {"operations": entries})
    _check_schema(answer, "BatchAnswer")


async def test_usage_and_explanation_are_as_described(edge: Edge) -> None:
    """Of a user with an override, and of one without any rule."""
    for user_id in ("alice", "carol"):
        _check_schema((await edge.call("GET", f"/v1/usage/{user_id}?tier=pro"))[1], "UserUsage")
        _check_schema((await edge.call("GET", f"/v1/explain?user_id={user_id}&tier=pro"))[1], "Explanation")


async def test_rules_are_as_described(edge: Edge) -> None:
    """Those in force, and the answer to a push of the same."""
    _, document = await edge.call("GET", "/v1/rules")
    _check_schema(document, "RuleSet")
    headers = {"Authorization": f"Bearer {PUSH_TOKEN}"}
    _check_schema(document, "PushedRuleSet")
    _check_schema((await edge.call("PUT", "/v1/rules", json=document, headers=headers))[1], "PushAnswer")


async def test_health_is_as_described(edge: Edge) -> None:
    """Liveness and readiness."""
    for path in ("/livez", "/readyz"):
        _check_schema((await edge.admin(path))[1], "Health")


async def test_problems_are_as_described(edge: Edge) -> None:
    """With a field, with faults, and with neither."""
    headers = {"Authorization": f"Bearer {PUSH_TOKEN}"}
    problems = [
        await edge.post("check", {**CHECK, "cost_usd": -1}),
        await edge.call("PUT", "/v1/rules", json={"rules": 7}, headers=headers),
        await edge.call("GET", "/nowhere"),
    ]
    for status, problem in problems:
        _check_schema(problem, "Problem")
        assert status == problem["status"]


async def test_the_document_is_served(edge: Edge) -> None:
    """Operators read it from the admin listener."""
    assert (200, DOCUMENT) == await edge.admin("/openapi.json")
