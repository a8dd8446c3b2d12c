"""Everything that went wrong goes out as problem+json (RFC 9457) with a stable `code`."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson
from aiohttp import web

from controlplane.api.answers import NO_STORE
from controlplane.auth import TooManyFailures
from controlplane.metrics import Metrics
from ledger.errors import LedgerError
from ledger.problems import problem_fields

PROBLEM_JSON: Final = "application/problem+json"
UNAUTHORIZED: Final = 401
FIRST_ERROR: Final = 400

HTTP_CODES: Final = {
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = logging.getLogger("spendgate.http")


class Refused(LedgerError):
    """An error with members of its own beside the usual ones of a problem, such as the row as it is now."""

    def __init__(self, error: LedgerError, **members: object) -> None:
        super().__init__(error.message, field=error.field, code=error.code)
        self.status = error.status
        self.members = members


def problem_middleware(metrics: Metrics) -> Any:
    """Return the middleware that turns every error into a problem; what is unexpected is logged once and hidden."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        headers: dict[str, str] = {}
        try:
            return await handler(request)
        except LedgerError as error:
            fields = problem_fields(error) | (error.members if isinstance(error, Refused) else {})
            if isinstance(error, TooManyFailures):
                headers["Retry-After"] = str(error.retry_after_s)
        except web.HTTPException as error:
            if error.status < FIRST_ERROR:
                raise
            fields = _http_problem(error)
            headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        except (ConnectionError, UnicodeDecodeError, web.RequestPayloadError) as error:
            fields = problem_fields(LedgerError(f"the request could not be read: {error}", code="invalid_body"))
            fields["status"] = FIRST_ERROR
        except Exception:
            log.exception("%r failed", request.path)  # Quoted: a path may have line ends.
            fields = problem_fields(LedgerError("this is our fault; the log has the details"))
        metrics.record_problem(fields["code"])
        if fields["status"] == UNAUTHORIZED:
            headers["WWW-Authenticate"] = "Bearer"
        return problem_response(fields, headers)

    return middleware


def problem_response(fields: dict[str, Any], headers: dict[str, str]) -> web.Response:
    """Return the HTTP answer of a problem."""
    body = orjson.dumps(fields)
    return web.Response(status=fields["status"], body=body, content_type=PROBLEM_JSON, headers={**NO_STORE, **headers})


def _http_problem(error: web.HTTPException) -> dict[str, Any]:
    code = HTTP_CODES.get(error.status, f"http_{error.status}")
    fields = problem_fields(LedgerError(error.reason, code=code))
    fields["status"] = error.status
    return fields
