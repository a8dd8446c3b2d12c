"""Handlers of tier templates and of overrides: lists, and single rules under optimistic locking."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from aiohttp import web

from controlplane.api.access import actor_name
from controlplane.api.answers import answer
from controlplane.api.bodies import read_object
from controlplane.api.place_cursors import decode_place, encode_place
from controlplane.api.preconditions import etag, expected_revision
from controlplane.api.problems import Refused
from controlplane.api.queries import Query
from controlplane.registry import Registry
from controlplane.rule_errors import PreconditionFailed, RuleExists, RuleNotFound
from controlplane.rule_lists import SORTS, RuleFilter, RuleLists
from controlplane.rule_rows import RuleState, rule_row
from ledger.errors import InvalidInput
from ledger.rule_book import StoredRule
from ledger.rule_fields import parse_note
from ledger.rule_parsing import RULE_FIELDS
from ledger.rules import Action, RuleKind
from ledger.windows import WindowType, rfc3339

FILTERS: Final = ("q", "status", "action", "window", "sort", "order")
BODY_FIELDS: Final = RULE_FIELDS | {"change_note"}
ORDERS: Final = ("asc", "desc")
PATHS: Final = {RuleKind.TIER_TEMPLATE: "/api/v1/templates", RuleKind.USER_OVERRIDE: "/api/v1/overrides"}


class RuleItemHandlers:
    """The rules of one kind."""

    def __init__(self, registry: Registry, lists: RuleLists) -> None:
        self._registry = registry
        self._lists = lists
        self._path = PATHS[lists.kind]

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        one = f"{self._path}/{{rule_id}}"
        return [
            web.get(self._path, self.list),
            web.post(self._path, self.create),
            web.get(one, self.get),
            web.put(one, self.put),
            web.delete(one, self.delete),
        ]

    async def list(self, request: web.Request) -> web.Response:
        """Answer a page of rules."""
        query = Query(request, [*FILTERS, "cursor", "limit"])
        sort, descending = read_sort(query)
        after = decode_place(query.long_text("cursor"), sort=sort)
        page = await self._lists.page(
            read_filter(query), sort=sort, descending=descending, after=after, limit=query.limit()
        )
        return answer(
            {
                "items": page.rows,
                "next_cursor": None if page.last is None else encode_place(sort, page.last),
                "total": page.total,
                "revision": page.revision,
                "at": rfc3339(page.at_ms),
                "has_spend": page.has_spend,
            }
        )

    async def create(self, request: web.Request) -> web.Response:
        """Add a rule and answer its row."""
        Query(request, [])
        document, note = await read_rule(request)
        with self._refusals():
            stored = await self._registry.create(document, kind=self._lists.kind, actor=actor_name(request), note=note)
        return await self._answer(stored, status=201, headers={"Location": f"{self._path}/{stored.rule.id}"})

    async def get(self, request: web.Request) -> web.Response:
        """Answer a rule's row."""
        Query(request, [])
        return await self._answer(self._find(request))

    async def put(self, request: web.Request) -> web.Response:
        """Put a whole document in the place of a rule and answer its row."""
        Query(request, [])
        rule_id, revision = self._find(request).rule.id, expected_revision(request)
        document, note = await read_rule(request)
        with self._refusals():
            stored = await self._registry.update(
                rule_id, document, expected_rule_revision=revision, actor=actor_name(request), note=note
            )
        return await self._answer(stored)

    async def delete(self, request: web.Request) -> web.Response:
        """Remove a rule."""
        note = parse_note(Query(request, ["change_note"]).long_text("change_note") or "", field="change_note")
        rule_id, revision = self._find(request).rule.id, expected_revision(request)
        with self._refusals():
            await self._registry.delete(rule_id, expected_rule_revision=revision, actor=actor_name(request), note=note)
        return web.Response(status=204)

    def _find(self, request: web.Request) -> StoredRule:
        rule_id = request.match_info["rule_id"]
        stored = self._registry.book.entries.get(rule_id)
        if stored is None or stored.rule.kind is not self._lists.kind:
            raise RuleNotFound(f"there is no {self._lists.kind} with this id")
        return stored

    async def _answer(
        self, stored: StoredRule, *, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> web.Response:
        response = answer(await self._lists.row(stored), status=status)
        response.headers.update({**etag(stored.revision), **(headers or {})})
        return response

    @contextlib.contextmanager
    def _refusals(self) -> Iterator[None]:
        """Show whoever was refused the rule that stands in the way, as it is now."""
        try:
            yield
        except (PreconditionFailed, RuleExists) as error:
            if error.current is None:
                raise
            updated_ms = error.current.updated_at_ms
            current = rule_row(error.current, self._registry.book.workspace, updated_ms, None)
            raise Refused(error, current=current) from error


async def read_rule(request: web.Request) -> tuple[dict[str, Any], str]:
    """Return the rule's document of a body, and the note for the audit trail."""
    document = await read_object(request, BODY_FIELDS)
    note = document.pop("change_note", None)
    return document, "" if note is None else parse_note(note, field="change_note")


def read_filter(query: Query) -> RuleFilter:
    """Return which rules a request wants."""
    return RuleFilter(
        text=query.text("q") or "",
        states=query.words("status", [str(state) for state in RuleState]),
        actions=query.words("action", [str(action) for action in Action]),
        windows=query.words("window", [str(window) for window in WindowType]),
    )


def read_sort(query: Query) -> tuple[str, bool]:
    """Return what a list is sorted by, and whether downwards."""
    sort, order = query.text("sort") or SORTS[0], query.text("order") or ORDERS[0]
    for name, word, choices in (("sort", sort, SORTS), ("order", order, ORDERS)):
        if word not in choices:
            raise InvalidInput(f"{name} must be one of {', '.join(choices)}", field=name)
    return sort, order == "desc"
