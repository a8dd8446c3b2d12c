"""Reads the JSON body of a request."""

from collections.abc import Collection
from typing import Any

from aiohttp import web

from ledger.documents import decode_json
from ledger.errors import InvalidInput
from ledger.sections import hint


async def read_object(request: web.Request, known: Collection[str]) -> dict[str, Any]:
    """Return the JSON object of a body; raises `InvalidInput` for what is none, and naming a field not in `known`.

    A field given twice is refused: which of two limits counts is nothing to guess.
    """
    try:
        document = decode_json(await request.read())
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the body {error or 'is nested too deep'}", code="invalid_body") from None
    if not isinstance(document, dict):
        raise InvalidInput("the body must be a JSON object", code="invalid_body")
    for name in document:
        if name not in known:
            raise InvalidInput(f"{name[:40]} is no field of this call{hint(name, frozenset(known))}", field=name[:40])
    return document


async def read_bytes(request: web.Request, max_bytes: int) -> bytes:
    """Return a body that may be larger than other calls', up to its own bound; raises a 413 beyond it."""
    chunks, size = [], 0
    async for chunk in request.content.iter_chunked(2**16):
        size += len(chunk)
        if size > max_bytes:
            raise web.HTTPRequestEntityTooLarge(max_size=max_bytes, actual_size=size)
        chunks.append(chunk)
    return b"".join(chunks)
