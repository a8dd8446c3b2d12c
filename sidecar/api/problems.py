"""Everything that is no decision goes out as problem+json (RFC 9457) with a stable `code`."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson
from aiohttp import web

from ledger.errors import LedgerError
from ledger.problems import problem_fields
from sidecar.metrics import Metrics

PROBLEM_JSON: Final = "application/problem+json"

USER_PATH: Final = "/v1/usage/"

HTTP_CODES: Final = {
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = logging.getLogger("spendgate.http")


def problem_body(fields: dict[str, Any]) -> bytes:
    """Return the body of a problem."""
    return orjson.dumps(fields)


def problem_response(fields: dict[str, Any]) -> web.Response:
    """Return the HTTP answer of a problem."""
    return web.Response(status=fields["status"], body=problem_body(fields), content_type=PROBLEM_JSON)


def find_problem(error: Exception, path: str, metrics: Metrics) -> dict[str, Any]:
    """Return the fields of an error's problem, and count it; what is unexpected is logged once and hidden."""
    if isinstance(error, LedgerError):
        fields = problem_fields(error)
    elif isinstance(error, web.HTTPException):
        fields = _http_problem(error)
    elif isinstance(error, ConnectionError | UnicodeDecodeError | web.RequestPayloadError):
        fields = problem_fields(LedgerError(f"the request could not be read: {error}", code="invalid_body"))
        fields["status"] = 400
    else:
        log.error("%r failed", shown_path(path), exc_info=error)
        fields = problem_fields(LedgerError("this is our fault; the log has the details"))
    metrics.record_problem(fields["code"])
    return fields


def answer_problem(error: Exception, request: web.BaseRequest, metrics: Metrics) -> web.Response:
    """Return the answer to an error of a handler, and count it."""
    fields = find_problem(error, request.path, metrics)
    response = problem_response(fields)
    if isinstance(error, web.HTTPException) and "Allow" in error.headers:
        response.headers["Allow"] = error.headers["Allow"]
    if fields["status"] == 401:  # noqa: PLR2004 - the status itself
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def shown_path(path: str) -> str:
    """Return a path for the log: without the user's id, if it has one."""
    return f"{USER_PATH}..." if path.startswith(USER_PATH) else path


def problem_middleware(metrics: Metrics) -> Any:
    """Return the middleware that turns every error into a problem."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except Exception as error:
            return answer_problem(error, request, metrics)

    return middleware


def _http_problem(error: web.HTTPException) -> dict[str, Any]:
    code = HTTP_CODES.get(error.status, f"http_{error.status}")
    problem = LedgerError(error.reason, code=code)
    fields = problem_fields(problem)
    fields["status"] = error.status
    return fields
