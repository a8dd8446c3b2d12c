"""Generated requests to a real control plane over a real store: never our fault, never an undocumented answer."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from controlplane.api.openapi import openapi_document
from tests.property.test_ledger_comparison import seed
from tests.support.service_thread import control_plane_in_a_thread

GENERATED: Final = 15
STREAMS: Final = "eventStream"
CHECKS: Final = [
    *(not_a_server_error, status_code_conformance, content_type_conformance),
    *(response_headers_conformance, response_schema_conformance),
]
OPERATIONS: Final = [
    operation["operationId"]
    for item in openapi_document()["paths"].values()
    for operation in item.values()
    if operation["operationId"] != STREAMS
]
NOTHING_TO_FORBID: Final = {
    "getSession",
    "logOut",
    "getTemplate",
    "getOverride",
    "getSettings",
    "getPrices",
    "sidecars",
    "webhooks",
    "testWebhook",
}
"""Operations of which every request is right: they have no parameters, or only a free text in the path."""

PLAYS: Final = [
    (operation_id, mode)
    for operation_id in OPERATIONS
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or operation_id not in NOTHING_TO_FORBID
]
STANDING: Final = (
    ("templates", {"key": "pro", "limit_usd": 5, "action": "block"}),
    ("overrides", {"key": "user-42", "limit_usd": 7, "window": "day", "timezone": "Asia/Tokyo"}),
)


@schemathesis.serializer("application/yaml", "text/csv")
def _as_bytes(_context: object, value: object) -> bytes:
    """Send what is generated for a text as it is; JSON is YAML."""
    return value if isinstance(value, bytes) else str(value).encode(errors="surrogatepass")


@dataclass(frozen=True, slots=True)
class Target:
    """The control plane that is called."""

    url: str
    session: requests.Session
    document: dict[str, Any]


@pytest.fixture(scope="module")
def target(valkey_url: str) -> Iterator[Target]:
    """A control plane with two rules, which may become any."""
    with (
        control_plane_in_a_thread(valkey_url, workspace="control-fuzz") as listeners,
        requests.Session() as session,
    ):
        session.trust_env = False
        for path, body in STANDING:
            session.post(f"{listeners.page_url}/api/v1/{path}", json=body).raise_for_status()
        yield Target(listeners.page_url, session, openapi_document())


@pytest.mark.parametrize(("operation_id", "mode"), PLAYS)
def test_generated_requests_are_answered_as_documented(target: Target, operation_id: str, mode: GenerationMode) -> None:
    """What the document admits and what it forbids: no 5xx, no answer that is not described."""
    operation = schemathesis.openapi.from_dict(target.document).find_operation_by_id(operation_id)

    @hypothesis.seed(seed())
    @settings(
        max_examples=GENERATED, deadline=None, database=None, print_blob=True, suppress_health_check=list(HealthCheck)
    )
    @given(operation.as_strategy(generation_mode=mode))
    def play(case: Case) -> None:
        response = case.call(base_url=target.url, session=target.session, allow_redirects=False)
        case.validate_response(response, checks=CHECKS)

    play()
