"""The OpenAPI 3.1 document of both listeners: paths here, schemas beside it."""

from collections.abc import Iterable
from typing import Any, Final

from ledger.decisions import Operation
from ledger.json_schema import TIER, USER_ID, Schema, ref
from ledger.usage_event_schema import USAGE_EVENT_EXAMPLE, usage_event_schemas
from sidecar.api.bodies import JSON, MSGPACK
from sidecar.api.openapi_examples import ANSWERS, BATCH, REQUESTS, RULE_SET
from sidecar.api.openapi_problems import (
    ADMIT,
    ANY,
    BODY,
    EVENT,
    HOLD,
    PUSH,
    READ,
    SETTLE,
    STORE,
    STREAM,
    problem_responses,
)
from sidecar.api.openapi_rules import rule_schemas, view_schemas
from sidecar.api.openapi_schemas import answer_schemas, request_schemas

API_VERSION: Final = "1"
YAML: Final = "application/yaml"
TEXT: Final = "text/plain"
PUSH_SECURITY: Final[list[dict[str, list[str]]]] = [{"pushToken": []}]
DECISION_SECURITY: Final[list[dict[str, list[str]]]] = [{}, {"decisionToken": []}]

SUMMARIES: Final = {
    Operation.CHECK: "Decide about a known amount, and charge it unless it is blocked",
    Operation.RESERVE: "Decide about an estimate, and hold it unless it is blocked",
    Operation.SETTLE: "Replace a hold by the actual cost, or charge an unknown one by its `reserved_at`",
    Operation.RELEASE: "Give a hold back: the call never happened",
    Operation.EXTEND: "Move a hold's deadline to now plus `ttl_s`",
}


def openapi_document() -> dict[str, Any]:
    """Return the document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Spendgate sidecar",
            "version": API_VERSION,
            "description": "A decision is always HTTP 200; anything else means that there is no decision.",
        },
        "servers": [{"url": "http://127.0.0.1:8787", "description": "The decision listener"}],
        "paths": {
            **_decision_paths(),
            **_stream_path(),
            **_event_path(),
            **_user_paths(),
            **_rule_paths(),
            **_admin_paths(),
        },
        "components": {
            "schemas": {
                **request_schemas(),
                **answer_schemas(),
                **usage_event_schemas(),
                **rule_schemas(),
                **view_schemas(),
            },
            "securitySchemes": {"decisionToken": _bearer("decisions"), "pushToken": _bearer("pushes of rules")},
        },
    }


def _bearer(what: str) -> Schema:
    return {"type": "http", "scheme": "bearer", "description": f"Needed for {what} where the sidecar has one set."}


def _decision_paths() -> dict[str, Any]:
    admissions = {Operation.CHECK: "Decision", Operation.RESERVE: "Reservation"}
    settlements = (Operation.SETTLE, Operation.RELEASE, Operation.EXTEND)
    paths = {f"/v1/{name}": _operation(name, answer, ADMIT) for name, answer in admissions.items()}
    for name in settlements:
        paths[f"/v1/{name}"] = _operation(name, "Settlement", SETTLE if name is Operation.SETTLE else HOLD)
    paths["/v1/batch"] = {
        "post": {
            "operationId": "batch",
            "summary": "Answer up to 256 operations in order, each on its own",
            "security": DECISION_SECURITY,
            "requestBody": _body("BatchRequest", BATCH),
            "responses": _responses("BatchAnswer", BODY),
        }
    }
    return paths


def _operation(name: Operation, answer: str, problems: Iterable[str]) -> dict[str, Any]:
    return {
        "post": {
            "operationId": str(name),
            "summary": SUMMARIES[name],
            "security": DECISION_SECURITY,
            "requestBody": _body(f"{str(name).capitalize()}Request", REQUESTS[name]),
            "responses": _responses(answer, problems, name),
        }
    }


def _stream_path() -> dict[str, Any]:
    """Return the path of the stream; OpenAPI cannot describe its frames, docs/stream.md does."""
    return {
        "/v1/stream": {
            "get": {
                "operationId": "stream",
                "summary": "Any operation as MessagePack frames over a WebSocket, many in flight on one connection",
                "security": DECISION_SECURITY,
                "responses": {
                    "101": {"description": "The connection is a WebSocket now"},
                    **problem_responses(STREAM),
                },
            }
        }
    }


def _event_path() -> dict[str, Any]:
    return {
        "/api/events": {
            "post": {
                "operationId": "usageEvent",
                "summary": "Charge a call that was made without asking; never refused because of a limit",
                "security": DECISION_SECURITY,
                "requestBody": _body("UsageEvent", USAGE_EVENT_EXAMPLE),
                "responses": _responses("UsageCharge", EVENT, "usageEvent"),
            }
        }
    }


def _user_paths() -> dict[str, Any]:
    in_path = {"name": "user_id", "in": "path", "required": True, "schema": USER_ID}
    in_query = {"name": "user_id", "in": "query", "required": True, "schema": USER_ID}
    tier = {"name": "tier", "in": "query", "required": False, "schema": TIER}
    usage = _read("usage", "What a user spent, holds and has left", "UserUsage", (*READ, *STORE))
    explain = _read("explain", "Which rules apply to a user now, which were skipped, and why", "Explanation")
    return {
        "/v1/usage/{user_id}": {"get": {**usage, "parameters": [in_path, tier]}},
        "/v1/explain": {"get": {**explain, "parameters": [in_query, tier]}},
    }


def _rule_paths() -> dict[str, Any]:
    body = _body("PushedRuleSet", RULE_SET)
    body["content"][YAML] = {"schema": ref("PushedRuleSet")}
    get = _read("getRules", "The rule set in force", "RuleSet", ANY)
    get["responses"]["200"]["headers"] = {"ETag": {"schema": {"type": "string"}, "description": "The revision."}}
    get["responses"]["200"]["content"].pop(MSGPACK)
    put = {
        "operationId": "putRules",
        "summary": "Put a whole rule set with a newer revision in force; refused as a whole, every fault listed",
        "security": PUSH_SECURITY,
        "requestBody": body,
        "responses": _responses("PushAnswer", PUSH, "putRules"),
    }
    return {"/v1/rules": {"get": get, "put": put}}


def _admin_paths() -> dict[str, Any]:
    servers = [{"url": "http://127.0.0.1:9797", "description": "The admin listener"}]
    health = {JSON: {"schema": ref("Health")}}
    live = _plain("livez", "The event loop runs", health)
    ready = _plain("readyz", "A rule set is in force; never asks the store", health)
    ready["responses"] |= problem_responses(["not_ready"])
    metrics = _plain("metrics", "Metrics in Prometheus' text format", {TEXT: {"schema": {"type": "string"}}})
    document = _plain("openapi", "This document", {JSON: {"schema": {"type": "object"}}})
    by_path = {"/livez": live, "/readyz": ready, "/metrics": metrics, "/openapi.json": document}
    return {path: {"servers": servers, "get": operation} for path, operation in by_path.items()}


def _read(name: str, summary: str, answer: str, problems: Iterable[str] = READ) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": summary,
        "security": DECISION_SECURITY,
        "responses": _responses(answer, problems),
    }


def _plain(name: str, summary: str, content: dict[str, Any]) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": summary,
        "security": [{}],
        "responses": {"200": {"description": summary, "content": content}},
    }


def _body(schema: str, example: object) -> dict[str, Any]:
    content = {JSON: {"schema": ref(schema), "example": example}, MSGPACK: {"schema": ref(schema)}}
    return {"required": True, "content": content}


def _responses(answer: str, problems: Iterable[str], operation: str = "") -> dict[str, Any]:
    """Return a 200 in both formats, with the operation's example if there is one, and the problems by their status."""
    example = {"example": ANSWERS[operation]} if operation in ANSWERS else {}
    done = {JSON: {"schema": ref(answer), **example}, MSGPACK: {"schema": ref(answer)}}
    return {"200": {"description": "Done", "content": done}, **problem_responses(problems)}
