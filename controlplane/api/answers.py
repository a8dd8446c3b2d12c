"""Answers in JSON. They are of this moment and may name users: nobody is to keep them."""

from typing import Any, Final

import orjson
from aiohttp import web

JSON: Final = "application/json"
NO_STORE: Final = {"Cache-Control": "no-store"}


def answer(document: dict[str, Any], *, status: int = 200) -> web.Response:
    """Return a document as JSON."""
    return web.Response(body=orjson.dumps(document), status=status, content_type=JSON, headers=NO_STORE)
