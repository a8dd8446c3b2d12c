"""One operation of the OpenAPI document: what is told of it, and how that is spelled."""

from dataclasses import dataclass
from typing import Any, Final

from controlplane.api.openapi_problems import problem_responses
from ledger.json_schema import ref

JSON: Final = "application/json"
YAML: Final = "application/yaml"
CSV: Final = "text/csv"
EVENTS: Final = "text/event-stream"

Schema = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation; `answers` and `body` map content types to schemas, by name or in full."""

    path: str
    method: str
    name: str
    summary: str
    answers: dict[str, str | Schema]
    problems: tuple[str, ...]
    status: int = 200
    parameters: tuple[Schema, ...] = ()
    body: dict[str, str | Schema] | None = None
    has_etag: bool = False
    needs_nothing: bool = False


def describe(operation: Operation) -> dict[str, Any]:
    """Return what stands under an operation's path and method."""
    done: dict[str, Any] = {"description": "Done"}
    if operation.answers:
        done["content"] = _content(operation.answers)
    if operation.has_etag:
        done["headers"] = {"ETag": {"schema": {"type": "string"}, "description": "The revision, for If-Match."}}
    document: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "security": [{}] if operation.needs_nothing else [{}, {"token": []}, {"session": []}],
        "parameters": list(operation.parameters),
        "responses": {str(operation.status): done, **problem_responses(operation.problems)},
    }
    if operation.body is not None:
        document["requestBody"] = {"required": True, "content": _content(operation.body)}
    return document


def _content(by_type: dict[str, str | Schema]) -> dict[str, Any]:
    return {kind: {"schema": ref(schema) if isinstance(schema, str) else schema} for kind, schema in by_type.items()}
