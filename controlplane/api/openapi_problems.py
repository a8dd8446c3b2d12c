"""Which problems an operation may answer, by code; the document shows each under its status."""

from collections.abc import Iterable
from http import HTTPStatus
from itertools import groupby
from typing import Any, Final

from controlplane.api.problems import PROBLEM_JSON
from ledger.json_schema import ref

STATUSES: Final = {
    "invalid_body": 400,
    "invalid_field": 400,
    "invalid_rules": 400,
    "unauthorized": 401,
    "plan_required": 402,
    "cross_origin": 403,
    "forbidden": 403,
    "rule_not_found": 404,
    "webhook_not_found": 404,
    "revision_conflict": 409,
    "rule_exists": 409,
    "history_gone": 410,
    "precondition_failed": 412,
    "body_too_large": 413,
    "unsupported_media_type": 415,
    "bad_host": 421,
    "counter_overflow": 422,
    "credit_exceeds_spend": 422,
    "request_mismatch": 422,
    "too_many_rules": 422,
    "precondition_required": 428,
    "too_many_failures": 429,
    "internal": 500,
    "log_not_followable": 501,
    "webhook_failed": 502,
    "not_kept": 503,
    "store_error": 503,
    "store_full": 503,
    "store_unavailable": 503,
    "too_many_exports": 503,
    "too_many_streams": 503,
}
"""The status of each code that an operation may answer; what has no operation (404, 405) is not among them."""

OPEN: Final = (
    "invalid_body",
    "invalid_field",
    "unauthorized",
    "cross_origin",
    "bad_host",
    "too_many_failures",
    "internal",
)
STORE: Final = ("store_error", "store_unavailable")
READ: Final = (*OPEN, "forbidden", *STORE)
BODY: Final = ("body_too_large",)
WRITE: Final = (*READ, *BODY, "store_full")
LOCKED: Final = ("precondition_required", "precondition_failed", "revision_conflict", "invalid_rules")
RULES: Final = ("plan_required", "invalid_rules", "revision_conflict", "too_many_rules")


def problem_responses(codes: Iterable[str]) -> dict[str, Any]:
    """Return the responses of an operation that may answer problems with these codes."""
    by_status = groupby(sorted(set(codes), key=lambda code: (STATUSES[code], code)), key=STATUSES.__getitem__)
    return {str(status): _response(status, list(group)) for status, group in by_status}


def _response(status: int, codes: list[str]) -> dict[str, Any]:
    told = {"properties": {"status": {"const": status}, "code": {"enum": codes}}}
    return {
        "description": f"{HTTPStatus(status).phrase}: {', '.join(f'`{code}`' for code in codes)}",
        "content": {PROBLEM_JSON: {"schema": {"allOf": [ref("Problem"), told]}}},
    }
