"""Handlers of the workspace's settings: time zone, week start, plan, expiry, and the emergency switch `mode`."""

from typing import Any, Final

from aiohttp import web

from controlplane.api.access import actor_name
from controlplane.api.answers import answer
from controlplane.api.bodies import read_object
from controlplane.api.preconditions import etag, expected_revision
from controlplane.api.problems import Refused
from controlplane.api.queries import Query
from controlplane.registry import Registry
from controlplane.rule_errors import PreconditionFailed
from ledger.rule_book import RuleBook
from ledger.rule_fields import parse_note
from ledger.rule_parsing import WORKSPACE_FIELDS
from ledger.windows import rfc3339

PATH: Final = "/api/v1/settings"
BODY_FIELDS: Final = WORKSPACE_FIELDS | {"change_note"}


class SettingsHandlers:
    """Look and put; on every plan, so that a plan can be changed."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [web.get(PATH, self.get), web.put(PATH, self.put)]

    async def get(self, request: web.Request) -> web.Response:
        """Answer the settings; the revision that last changed them is the ETag."""
        Query(request, [])
        return _answer(self._registry.book)

    async def put(self, request: web.Request) -> web.Response:
        """Put whole settings in the place of these; what is left out has its default."""
        Query(request, [])
        revision = expected_revision(request)
        document = await read_object(request, BODY_FIELDS)
        note = document.pop("change_note", None)
        try:
            book = await self._registry.put_settings(
                document,
                expected_revision=revision,
                actor=actor_name(request),
                note="" if note is None else parse_note(note, field="change_note"),
            )
        except PreconditionFailed as error:
            raise Refused(error, current=settings_fields(self._registry.book)) from error
        return _answer(book)


def settings_fields(book: RuleBook) -> dict[str, Any]:
    """Return the settings with their revision, and how much stands beside them."""
    return {
        **book.settings_document(),
        "revision": book.settings_revision,
        "rules_revision": book.revision,
        "rules": len(book.entries),
        "prices": book.prices.count,
        "price_version": book.prices.version,
        "prices_built_at": None if book.prices.built_ms is None else rfc3339(book.prices.built_ms),
    }


def _answer(book: RuleBook) -> web.Response:
    response = answer(settings_fields(book))
    response.headers.update(etag(book.settings_revision))
    return response
