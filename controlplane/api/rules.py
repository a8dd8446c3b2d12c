"""Handlers of whole rule sets: export, import with a preview, earlier revisions, restore. GitOps speaks this."""

import asyncio
from typing import Any, Final

from aiohttp import web

from controlplane.api.access import actor_name
from controlplane.api.answers import JSON, NO_STORE, answer
from controlplane.api.bodies import read_bytes, read_object
from controlplane.api.change_fields import delta_fields, swap_fields, version_fields
from controlplane.api.preconditions import etag, optional_revision
from controlplane.api.queries import Query
from controlplane.registry import Registry
from controlplane.rule_documents import json_chunks, read_document, rule_documents, sorted_rules, yaml_chunks
from controlplane.rule_imports import ImportDiff, ImportResult
from ledger.errors import InvalidInput, LedgerError
from ledger.rule_book import RuleBook
from ledger.rule_changes import RuleDelta
from ledger.rule_fields import parse_note, parse_revision

YAML: Final = "application/yaml"
YAML_NAMES: Final = frozenset({YAML, "application/x-yaml", "text/yaml"})
MAX_LISTED: Final = 1000
DIGITS: Final = 16


class UnsupportedMediaType(LedgerError):
    """The body's Content-Type is none that this call reads."""

    code = "unsupported_media_type"
    status = 415


class RuleSetHandlers:
    """The rule set as a document."""

    def __init__(self, registry: Registry, *, max_bytes: int) -> None:
        self._registry = registry
        self._max_bytes = max_bytes

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/api/v1/rules/export", self.export, allow_head=False),
            web.post("/api/v1/rules/import", self.import_rules),
            web.get("/api/v1/rules/revisions/{revision}", self.revision, allow_head=False),
            web.post("/api/v1/rules/restore", self.restore),
        ]

    async def export(self, request: web.Request) -> web.StreamResponse:
        """Answer all rules, settings and prices, as YAML, or as JSON if Accept asks for it."""
        with_ids = Query(request, ["ids"]).flag("ids") is not False
        return await _send(request, self._registry.book, with_ids=with_ids)

    async def revision(self, request: web.Request) -> web.StreamResponse:
        """Answer the rule set as it stood in an earlier revision."""
        with_ids = Query(request, ["ids"]).flag("ids") is not False
        text = request.match_info["revision"]
        if not (text.isascii() and text.isdigit() and len(text) <= DIGITS):
            raise InvalidInput("revision must be a whole number", field="revision")
        return await _send(request, await self._registry.book_at(int(text)), with_ids=with_ids)

    async def import_rules(self, request: web.Request) -> web.Response:
        """Make the rules what a whole document says; with `dry_run` only tell what that would change."""
        query = Query(request, ["dry_run", "change_note"])
        note = parse_note(query.long_text("change_note") or "", field="change_note")
        expected, is_yaml = optional_revision(request), is_yaml_type(request.content_type)
        document = await read_document(await read_bytes(request, self._max_bytes), is_yaml=is_yaml)
        if query.flag("dry_run"):
            return answer(diff_fields(await self._registry.preview_import(document)))
        done = await self._registry.import_document(
            document, expected_revision=expected, actor=actor_name(request), note=note
        )
        return _done(done)

    async def restore(self, request: web.Request) -> web.Response:
        """Make everything what it was in an earlier revision, as a new one."""
        Query(request, [])
        body = await read_object(request, ["revision", "change_note"])
        if body.get("revision") is None:
            raise InvalidInput("revision is required", field="revision")
        revision = parse_revision(body["revision"], field="revision")
        note = body.get("change_note")
        note = "" if note is None else parse_note(note, field="change_note")
        return _done(await self._registry.restore(revision, actor=actor_name(request), note=note))


def diff_fields(diff: ImportDiff) -> dict[str, Any]:
    """Return what an import would do; of each kind of change the first 1,000, and how many there are."""
    return {
        "revision": diff.revision,
        "counts": {
            "added": len(diff.added),
            "changed": len(diff.changed),
            "removed": len(diff.removed),
            "unchanged": diff.unchanged,
        },
        "added": _listed(diff.added),
        "changed": _listed(diff.changed),
        "removed": _listed(diff.removed),
        "settings": swap_fields(diff.settings),
        "prices_change": diff.price_versions is not None,
        "price_versions": version_fields(diff.price_versions),
    }


def result_fields(done: ImportResult) -> dict[str, Any]:
    """Return what an import did."""
    counts = {name: getattr(done, name) for name in ("added", "changed", "removed", "unchanged")}
    return {"revision": done.revision, "counts": counts}


def _done(done: ImportResult) -> web.Response:
    response = answer(result_fields(done))
    response.headers.update(etag(done.revision))
    return response


def _listed(deltas: tuple[RuleDelta, ...]) -> list[dict[str, Any]]:
    return [delta_fields(delta) for delta in deltas[:MAX_LISTED]]


def is_yaml_type(content_type: str) -> bool:
    """Say whether a body is YAML; raises `UnsupportedMediaType` for what is neither YAML nor JSON."""
    if content_type in YAML_NAMES:
        return True
    if content_type in {JSON, "application/octet-stream"}:
        return False
    raise UnsupportedMediaType(f"send {YAML} or {JSON}, not {content_type[:100]}")


async def _send(request: web.Request, book: RuleBook, *, with_ids: bool) -> web.StreamResponse:
    """Send a rule set some rules a turn of the loop; the revision is the ETag."""
    wants_json = JSON in request.headers.get("Accept", "")
    rules = await asyncio.to_thread(sorted_rules, book.rules.rules)
    documents = rule_documents(book, rules, with_ids=with_ids)
    chunks = json_chunks(book, documents) if wants_json else yaml_chunks(book, documents)
    kind = JSON if wants_json else YAML
    disposition = f'attachment; filename="rules-{book.revision}.{"json" if wants_json else "yaml"}"'
    headers = {**NO_STORE, **etag(book.revision), "Content-Type": kind, "Content-Disposition": disposition}
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    for chunk in chunks:
        await response.write(chunk)
        await asyncio.sleep(0)
    await response.write_eof()
    return response
