"""Optimistic locking over HTTP: a revision is the ETag, ``If-Match`` brings it back."""

import re
from typing import Final

from aiohttp import web

from ledger.errors import InvalidInput, LedgerError

_REVISION: Final = re.compile(r'"(0|[1-9][0-9]{0,15})"')


class PreconditionRequired(LedgerError):
    """A change must say which revision it was made for, so that nobody overwrites what he did not see."""

    code = "precondition_required"
    status = 428


def etag(revision: int) -> dict[str, str]:
    """Return the ETag header of a revision."""
    return {"ETag": f'"{revision}"'}


def expected_revision(request: web.Request) -> int:
    """Return the revision of ``If-Match``, which must be there; raises `PreconditionRequired`, `InvalidInput`."""
    revision = optional_revision(request)
    if revision is None:
        raise PreconditionRequired('send the ETag of what you read as `If-Match: "<revision>"`')
    return revision


def optional_revision(request: web.Request) -> int | None:
    """Return the revision of ``If-Match``, None without one."""
    text = request.headers.get("If-Match")
    if text is None:
        return None
    match = _REVISION.fullmatch(text.strip())
    if match is None:
        raise InvalidInput('If-Match must be one ETag as it was sent: "<revision>"', field="If-Match")
    return int(match[1])
