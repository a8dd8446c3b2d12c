"""Errors as problem documents (RFC 9457): the same fields from every process."""

from typing import Any, Final

from ledger.errors import LedgerError, RuleSetInvalid

MAX_FAULTS_SHOWN: Final = 1000


def problem_fields(error: LedgerError) -> dict[str, Any]:
    """Return the problem of an error: type, title, status, detail, code, and the field or faults if it has any."""
    fields: dict[str, Any] = {
        "type": "about:blank",
        "title": error.code.replace("_", " "),
        "status": error.status,
        "detail": str(error),
        "code": error.code,
    }
    if error.field is not None:
        fields["field"] = error.field
    if isinstance(error, RuleSetInvalid):
        fields["detail"] = f"{len(error.faults)} faults; nothing was changed"
        fields["faults"] = [{"path": path, "message": text} for path, text in error.faults[:MAX_FAULTS_SHOWN]]
    return fields
