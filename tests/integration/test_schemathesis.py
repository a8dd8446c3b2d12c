"""Thousands of requests to a real sidecar over a real store: never our fault, and nothing is written on a refusal."""

import contextlib
import itertools
import random
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote
from uuid import uuid4

import hypothesis
import msgpack
import pytest
import redis
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy
from schemathesis import Case, GenerationMode, Response
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from ledger.money import MAX_DECIMALS
from sidecar.listeners import Listeners
from tests.property.test_ledger_comparison import seed
from tests.support.mutated_bodies import mutated_bodies
from tests.support.service_thread import sidecar_in_a_thread
from tests.support.stored_counters import StoredCounters

GENERATED: Final = 50
MUTATED: Final = 250
FORGET_EVERY: Final = 40
NEVER: Final = 1_000_000
PUSH: Final = {"Authorization": "Bearer push-token-of-a-test"}
NO_SWEEP: Final = {"sweep_interval_ms": 3_600_000}
"""No sweep may change a counter between two readings."""
CHECKS: Final = [
    *(not_a_server_error, status_code_conformance, content_type_conformance),
    *(response_headers_conformance, response_schema_conformance),
]
RULES: Final = {
    "revision": 1,
    "rules": [
        {"kind": "tier_template", "key": "*", "limit_usd": 5_000_000, "window": "day", "action": "block"},
        {"kind": "tier_template", "key": "*", "limit_usd": 100_000, "action": "warn"},
        {"kind": "user_override", "key": "alice", "limit_usd": 0.5, "action": "block", "on_unpriced": "allow"},
    ],
    "prices": [{"model": "gpt-5", "input_usd_per_million": 1.25, "output_usd_per_million": 10}],
}
STANDING: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("check", {"request_id": "c-0", "cost_usd": 0.01}),
    ("reserve", {"request_id": "r-1", "estimate_usd": 0.01}),
    ("reserve", {"request_id": "r-2", "estimate_usd": 0.01}),
)
BODY_OPERATIONS: Final = ("check", "reserve", "settle", "release", "extend", "batch")
READ_OPERATIONS: Final = ("usage", "explain")
PLAIN_OPERATIONS: Final = ("getRules", "livez", "readyz", "metrics", "openapi")
ADMIN_OPERATIONS: Final = ("livez", "readyz", "metrics", "openapi")
UNSAYABLE: Final = {"reserved_at", "meta"}
"""Fields whose whole truth no JSON Schema tells: the store's time, bytes in sum."""


@schemathesis.serializer("application/msgpack")
def _pack(_context: object, value: object) -> bytes:
    """Write what MessagePack can say; bytes are a body that is none already."""
    if isinstance(value, bytes):
        return value
    try:
        packed: bytes = msgpack.packb(value)
    except OverflowError:
        hypothesis.reject()
    return packed


@schemathesis.deserializer("application/msgpack")
def _unpack(_context: object, response: Response) -> Any:
    return msgpack.unpackb(response.content)


@dataclass
class Target:
    """The sidecar that is called, its document, and what is stored behind it."""

    listeners: Listeners
    document: dict[str, Any]
    session: requests.Session
    counters: StoredCounters
    forget_every: int
    calls: Iterator[int] = field(default_factory=itertools.count)

    def post(self, operation: str, body: bytes, content_type: str) -> requests.Response:
        """Post a body to an operation of the decision listener."""
        url = f"{self.listeners.decision_url}/v1/{operation}"
        return self.session.post(url, data=body, headers={"Content-Type": content_type})

    def base_url(self, operation_id: str) -> str:
        """Return the listener of an operation."""
        return self.listeners.admin_url if operation_id in ADMIN_OPERATIONS else self.listeners.decision_url

    def start_again(self) -> None:
        """Forget everything but a charge and two open holds of alice."""
        self.counters.forget_all()
        for operation, body in STANDING:
            url = f"{self.listeners.decision_url}/v1/{operation}"
            assert self.session.post(url, json={"user_id": "alice", **body}).json()["allowed"]

    def watched(self, send: Any) -> Any:
        """Return what `send` answers; unless that is a 2xx, no counter may have changed."""
        if next(self.calls) % self.forget_every == 0:
            self.start_again()
        before = self.counters.read()
        response = send()
        if response.status_code >= 300:
            assert before == self.counters.read(), f"a {response.status_code} has changed a counter"
        return response


@contextlib.contextmanager
def _running_target(valkey_url: str, directory: Path, *, forget_every: int) -> Iterator[Target]:
    """Run a sidecar with a few rules and prices, in a workspace of its own."""
    workspace = f"fuzz-{uuid4().hex[:8]}"
    token = PUSH["Authorization"].removeprefix("Bearer ")
    with (
        sidecar_in_a_thread(directory, valkey_url, workspace=workspace, push_token=token, **NO_SWEEP) as listeners,
        requests.Session() as session,
        redis.Redis.from_url(valkey_url) as client,
    ):
        session.trust_env = False
        session.put(f"{listeners.decision_url}/v1/rules", json=RULES, headers=PUSH).raise_for_status()
        document = session.get(f"{listeners.admin_url}/openapi.json").json()
        yield Target(listeners, document, session, StoredCounters(client, workspace), forget_every)


@pytest.fixture(scope="module")
def target(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A sidecar whose rules stay as they are."""
    with _running_target(valkey_url, tmp_path_factory.mktemp("fuzzed"), forget_every=FORGET_EVERY) as running:
        yield running


@pytest.fixture
def push_target(valkey_url: str, tmp_path: Path) -> Iterator[Target]:
    """A sidecar whose rules may become any, so that what stands at the start is never made anew."""
    with _running_target(valkey_url, tmp_path, forget_every=NEVER) as running:
        yield running


def _plain(value: Any, name: str = "") -> Any:
    """Return a value without what JSON Schema cannot rule out.

    Whole numbers written as 7.0, amounts with too many decimals, characters that Unicode has not assigned.
    """
    if isinstance(value, dict):
        return {_plain(key): _plain(entry, key) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry, name) for entry in value]
    if isinstance(value, float):
        rounded = round(value, MAX_DECIMALS) if name.endswith("_usd") else value
        return int(rounded) if rounded.is_integer() else rounded
    if isinstance(value, str):
        return "".join(character if unicodedata.category(character) not in {"Cn", "Co"} else "x" for character in value)
    return value


def _plain_case(case: Case) -> Case:
    case.body, case.query = _plain(case.body), _plain(case.query)
    # Values in a path are percent-encoded already.
    case.path_parameters = {
        name: quote(_plain(unquote(value)), safe="") for name, value in case.path_parameters.items()
    }
    return case


def _cases(target: Target, operation_id: str, mode: GenerationMode) -> SearchStrategy[Case]:
    operation = schemathesis.openapi.from_dict(target.document).find_operation_by_id(operation_id)
    cases = operation.as_strategy(generation_mode=mode)
    return cases.map(_plain_case) if mode is GenerationMode.POSITIVE else cases


def _play(target: Target, operation_id: str, mode: GenerationMode, examples: int) -> list[Response]:
    """Send generated requests; each answer is as documented, and a refusal has written nothing. Returns the answers."""
    base_url = target.base_url(operation_id)
    headers = PUSH if operation_id == "putRules" else None
    answers = []

    @hypothesis.seed(seed())
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(_cases(target, operation_id, mode))
    def play(case: Case) -> None:
        response = target.watched(lambda: case.call(base_url=base_url, session=target.session, headers=headers))
        case.validate_response(response, checks=CHECKS)
        answers.append(response)

    play()
    return answers


@pytest.mark.parametrize("operation_id", [*READ_OPERATIONS, *BODY_OPERATIONS])
def test_requests_that_the_document_admits_are_read(target: Target, operation_id: str) -> None:
    """What the schema calls right is refused only for what no schema can say."""
    answers = _play(target, operation_id, GenerationMode.POSITIVE, GENERATED)
    problems = [answer.json() for answer in answers if answer.status_code == 400]
    assert [] == [problem for problem in problems if problem.get("field", problem["code"]) not in UNSAYABLE]


@pytest.mark.parametrize("operation_id", [*READ_OPERATIONS, *BODY_OPERATIONS])
def test_requests_that_the_document_forbids_are_answered_as_documented(target: Target, operation_id: str) -> None:
    """What the schema calls wrong is no 5xx, gets no undocumented answer, and no refusal writes."""
    _play(target, operation_id, GenerationMode.NEGATIVE, GENERATED)


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_pushes_are_answered_as_documented(push_target: Target, mode: GenerationMode) -> None:
    """Rule sets right and wrong: no 5xx, no undocumented answer, and no counter moves."""
    _play(push_target, "putRules", mode, GENERATED)


@pytest.mark.parametrize("operation_id", PLAIN_OPERATIONS)
def test_requests_without_parameters_are_answered_as_documented(target: Target, operation_id: str) -> None:
    """There is only one such request of each."""
    assert [200] == [answer.status_code for answer in _play(target, operation_id, GenerationMode.POSITIVE, 1)]


def test_mutated_bodies_are_never_our_fault(target: Target) -> None:
    """Hostile values, foreign text, doubled fields, deep nesting, broken bytes: no 5xx, and no refusal that wrote."""
    statuses = set()
    for mutated in mutated_bodies(random.Random(seed()), MUTATED):
        response = target.watched(lambda m=mutated: target.post(m.operation, m.body, m.content_type))
        assert response.status_code < 500, f"{mutated}: {response.text}"
        statuses.add(response.status_code)
    assert {200, 400} <= statuses
