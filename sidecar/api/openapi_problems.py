"""Which problems an operation may answer, by code; the document shows each under its status."""

from collections.abc import Iterable
from http import HTTPStatus
from itertools import groupby
from typing import Any, Final

from ledger.json_schema import ref
from ledger.script_answers import CONFLICTS

PROBLEM_JSON: Final = "application/problem+json"

STATUSES: Final = {
    "invalid_body": 400,
    "invalid_field": 400,
    "invalid_rules": 400,
    "not_a_websocket": 400,
    "unauthorized": 401,
    "cross_origin": 403,
    "push_disabled": 403,
    "hold_not_found": 404,
    "not_acceptable": 406,
    **dict.fromkeys(CONFLICTS, 409),
    "rules_from_file": 409,
    "rules_from_store": 409,
    "stale_revision": 409,
    "hold_too_old": 410,
    "body_too_large": 413,
    "unsupported_media_type": 415,
    "bad_host": 421,
    "counter_overflow": 422,
    "request_mismatch": 422,
    "internal": 500,
    "not_ready": 503,
    "overloaded": 503,
    "stopping": 503,
    "store_error": 503,
    "store_full": 503,
    "store_unavailable": 503,
    "too_many_streams": 503,
}
"""The status of each code that an operation may answer; what has no operation (404, 405) is not among them."""

STORE: Final = ("overloaded", "store_error", "store_full", "store_unavailable")
ANY: Final = ("invalid_body", "unauthorized", "cross_origin", "bad_host", "internal")
READ: Final = (*ANY, "invalid_field", "not_acceptable")
BODY: Final = (*READ, "body_too_large", "unsupported_media_type")
ADMIT: Final = (*BODY, "counter_overflow", "request_mismatch")
HOLD: Final = (*BODY, *CONFLICTS, "hold_not_found", *STORE)
SETTLE: Final = (*HOLD, "hold_too_old")
EVENT: Final = (*BODY, "request_mismatch", *STORE)
STREAM: Final = (*ANY, "not_a_websocket", "stopping", "too_many_streams")
PUSH: Final = (*BODY, "invalid_rules", "push_disabled", "rules_from_file", "rules_from_store", "stale_revision")


def problem_responses(codes: Iterable[str]) -> dict[str, Any]:
    """Return the responses of an operation that may answer problems with these codes."""
    by_status = groupby(sorted(codes, key=lambda code: (STATUSES[code], code)), key=STATUSES.__getitem__)
    return {str(status): _response(status, list(group)) for status, group in by_status}


def _response(status: int, codes: list[str]) -> dict[str, Any]:
    told = {"properties": {"status": {"const": status}, "code": {"enum": codes}}}
    return {
        "description": f"{HTTPStatus(status).phrase}: {', '.join(f'`{code}`' for code in codes)}",
        "content": {PROBLEM_JSON: {"schema": {"allOf": [ref("Problem"), told]}}},
    }
