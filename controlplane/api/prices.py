"""Handlers of the price book: look, and put a compiled one or prices of one's own in its place."""

import asyncio
from typing import Any, Final

import orjson
from aiohttp import web

from controlplane.api.access import actor_name
from controlplane.api.answers import JSON, NO_STORE, answer
from controlplane.api.bodies import read_bytes
from controlplane.api.preconditions import etag, optional_revision
from controlplane.api.queries import Query
from controlplane.api.rules import is_yaml_type
from controlplane.registry import Registry
from controlplane.rule_documents import read_document
from ledger.price_parsing import dump_prices
from ledger.prices import PriceBook
from ledger.rule_book import RuleBook
from ledger.rule_fields import parse_note
from ledger.windows import rfc3339

PATH: Final = "/api/v1/prices"


class PriceHandlers:
    """Look and put; on every plan, because calls are counted on every plan."""

    def __init__(self, registry: Registry, *, max_bytes: int) -> None:
        self._registry = registry
        self._max_bytes = max_bytes

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [web.get(PATH, self.get, allow_head=False), web.put(PATH, self.put)]

    async def get(self, request: web.Request) -> web.Response:
        """Answer the whole book; the revision of the rules is the ETag."""
        Query(request, [])
        book = self._registry.book
        body = await asyncio.to_thread(_encoded, book.prices)
        return web.Response(body=body, content_type=JSON, headers={**NO_STORE, **etag(book.revision)})

    async def put(self, request: web.Request) -> web.Response:
        """Put a book, a list of prices or null in the place of the prices."""
        query = Query(request, ["change_note"])
        note = parse_note(query.long_text("change_note") or "", field="change_note")
        expected, is_yaml = optional_revision(request), is_yaml_type(request.content_type)
        document = await read_document(await read_bytes(request, self._max_bytes), is_yaml=is_yaml)
        book = await self._registry.put_prices(
            document, expected_revision=expected, actor=actor_name(request), note=note
        )
        response = answer(_result_fields(book))
        response.headers.update(etag(book.revision))
        return response


def _encoded(prices: PriceBook) -> bytes:
    return orjson.dumps(dump_prices(prices))


def _result_fields(book: RuleBook) -> dict[str, Any]:
    prices = book.prices
    return {
        "revision": book.revision,
        "version": prices.version,
        "built_at": None if prices.built_ms is None else rfc3339(prices.built_ms),
        "prices": prices.count,
    }
