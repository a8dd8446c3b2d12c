"""The control plane's OpenAPI document: valid, complete, and true of what the handlers answer and refuse."""

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest_asyncio
from aiohttp import web
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from controlplane.adjustment_keeper import AdjustmentKeeper
from controlplane.api.openapi import openapi_document
from controlplane.api.openapi_problems import STATUSES
from controlplane.app import make_page_app
from controlplane.metrics import Metrics
from controlplane.registry import Registry
from controlplane.service import _ledger, _parts
from controlplane.sidecars import SidecarBoard
from controlplane.webhooks import WebhookPlace, Webhooks
from ledger.connection import StoreTimeouts, connect
from ledger.errors import LedgerError
from ledger.heartbeats import Heartbeats
from ledger.rule_store import RuleStore
from tests.support.control_plane import Answer, ControlPlane, control_plane, control_settings

DOCUMENT = openapi_document()
UNDOCUMENTED = {("get", "/api/v1/openapi.json")}
ELSEWHERE = {"not_ready", "not_found", "method_not_allowed"}
RULE = {"key": "user-42", "limit_usd": 5, "note": "a note"}


@pytest_asyncio.fixture(loop_scope="function")
async def control(valkey_url: str) -> AsyncIterator[ControlPlane]:
    """A control plane without rules."""
    async with control_plane(valkey_url) as running:
        yield running


async def _routes() -> set[tuple[str, str]]:
    """Return every route of the API that the application serves."""
    settings = control_settings("unix:///nowhere")
    client = connect(settings.redis_url, StoreTimeouts())
    registry = Registry(RuleStore(client, workspace="x"))
    board = SidecarBoard(Heartbeats(client, workspace="x"), lambda: registry.book)
    webhooks = Webhooks((), WebhookPlace(client=client, workspace="x", partitions=1), board, Metrics())
    keeper = AdjustmentKeeper(_ledger(settings, client), None)
    parts = _parts(settings, client, registry, Metrics(), board, webhooks, keeper)
    await webhooks.aclose()
    app: web.Application = make_page_app(parts)
    return {
        (route.method.lower(), route.resource.canonical)
        for route in app.router.routes()
        if route.resource is not None and route.method != "HEAD" and route.resource.canonical.startswith("/api/")
    }


def _controlplane_errors(error: type[LedgerError] = LedgerError) -> Iterator[type[LedgerError]]:
    for kind in error.__subclasses__():
        if kind.__module__.startswith("controlplane.") and kind.__name__ != "Refused":
            yield kind
        yield from _controlplane_errors(kind)


def _operation(name: str) -> tuple[str, str, dict[str, Any]]:
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            if operation["operationId"] == name:
                return method, path, operation
    raise KeyError(name)


def _check(name: str, answer: Answer) -> None:
    """Raise unless an answer is as the document says of an operation."""
    _, _, operation = _operation(name)
    response = operation["responses"][str(answer.status)]
    if "content" not in response:
        assert b"" == answer.body
        return
    kind = answer.headers["Content-Type"].partition(";")[0]
    schema = response["content"][kind]["schema"]
    if kind.endswith("json"):
        Draft202012Validator({**schema, "components": DOCUMENT["components"]}).validate(answer.document)


async def test_the_document_is_valid() -> None:
    """By the specification's own schema."""
    validate(DOCUMENT)


async def test_every_route_is_described() -> None:
    """And nothing else."""
    described = {(method, path) for path, item in DOCUMENT["paths"].items() for method in item}
    served = {(method, re.sub(r"\{(\w+):[^}]*\}", r"{\1}", path)) for method, path in await _routes()}
    assert described == served - UNDOCUMENTED


def test_operations_have_names_of_their_own() -> None:
    """Clients are generated from them."""
    names = [operation["operationId"] for item in DOCUMENT["paths"].values() for operation in item.values()]
    assert len(names) == len(set(names))


def test_every_code_of_the_control_plane_has_its_status() -> None:
    """What an error of ours says of itself is what the document says of it."""
    own = {error.code: error.status for error in _controlplane_errors() if error.code not in ELSEWHERE}
    assert {} == {code: status for code, status in own.items() if STATUSES.get(code) != status}


async def test_rules_are_as_described(control: ControlPlane) -> None:
    """Made, read, changed, listed, refused, removed; as CSV."""
    created = await control.call("POST", "/api/v1/overrides", RULE)
    _check("createOverride", created)
    _check("createOverride", await control.call("POST", "/api/v1/overrides", RULE))
    _check("createOverride", await control.call("POST", "/api/v1/overrides", {}))
    template = await control.call("POST", "/api/v1/templates", {"key": "*", "limit_usd": None, "action": "block"})
    _check("createTemplate", template)
    path = f"/api/v1/overrides/{created.document['id']}"
    _check("getOverride", await control.call("GET", path))
    _check("putOverride", await control.call("PUT", path, RULE))
    _check("putOverride", await control.call("PUT", path, RULE, headers={"If-Match": '"9"'}))
    _check("putOverride", await control.call("PUT", path, RULE | {"limit_usd": 6}, headers={"If-Match": '"1"'}))
    for query in ("", "?sort=percent&order=desc", "?status=gone"):
        _check("listOverrides", await control.call("GET", f"/api/v1/overrides{query}"))
        _check("listTemplates", await control.call("GET", f"/api/v1/templates{query}"))
    _check("overridesCsv", await control.call("GET", "/api/v1/overrides.csv"))
    _check("templatesCsv", await control.call("GET", "/api/v1/templates.csv"))
    _check("deleteOverride", await control.call("DELETE", path))
    _check("deleteOverride", await control.call("DELETE", path, headers={"If-Match": '"3"'}))
    _check("getOverride", await control.call("GET", path))


async def test_imports_are_as_described(control: ControlPlane) -> None:
    """Whole documents and CSV, looked at and done, right and wrong; the trail of them."""
    kind = {"Content-Type": "application/json"}
    rules = {"workspace": {"mode": "observe"}, "rules": [{"kind": "tier_template", "key": "a", "limit_usd": 1}]}
    for query in ("?dry_run=true", "", "?dry_run=maybe"):
        _check("importRules", await control.call("POST", f"/api/v1/rules/import{query}", rules, headers=kind))
    _check("importRules", await control.call("POST", "/api/v1/rules/import", {"rules": 7}, headers=kind))
    csv = {"Content-Type": "text/csv", "If-Match": '"1"'}
    for body in (b"user_id,limit_usd\na,1\nb,unlimited\n", b"user_id,limit_usd\na,x\n", b"\xff", b"nope\n"):
        for query in ("?preview=true", ""):
            path = f"/api/v1/overrides/import{query}"
            _check("importOverrides", await control.call("POST", path, body, headers=csv))
    for accept in ("application/json", "application/yaml"):
        _check("exportRules", await control.call("GET", "/api/v1/rules/export", headers={"Accept": accept}))
        _check("getRevision", await control.call("GET", "/api/v1/rules/revisions/1", headers={"Accept": accept}))
    _check("restoreRules", await control.call("POST", "/api/v1/rules/restore", {"revision": 1}))
    _check("restoreRules", await control.call("POST", "/api/v1/rules/restore", {"revision": "1"}))
    _check("audit", await control.call("GET", "/api/v1/audit"))
    _check("audit", await control.call("GET", "/api/v1/audit?cursor=x"))


async def test_settings_and_sessions_are_as_described(control: ControlPlane) -> None:
    """Looked at, put, refused."""
    _check("getSettings", await control.call("GET", "/api/v1/settings"))
    for match in ('"0"', '"7"'):
        headers = {"If-Match": match}
        _check("putSettings", await control.call("PUT", "/api/v1/settings", {"mode": "observe"}, headers=headers))
    _check("getSession", await control.call("GET", "/api/v1/session"))
    _check("logIn", await control.call("POST", "/api/v1/session", {"token": "x"}))
    _check("logOut", await control.call("DELETE", "/api/v1/session"))


async def test_reads_are_as_described(control: ControlPlane) -> None:
    """With something spent, for users and tiers that are known and unknown."""
    await control.call("POST", "/api/v1/overrides", RULE)
    await control.call("POST", "/api/v1/templates", {"key": "pro", "limit_usd": 5, "action": "dry_run"})
    body = {"request_id": "a-1", "usd": "7.25", "note": "x", "tier": "pro"}
    _check("adjust", await control.call("POST", "/api/v1/users/user-42/adjust", body))
    _check("adjust", await control.call("POST", "/api/v1/users/user-42/adjust", body))
    _check("adjust", await control.call("POST", "/api/v1/users/user-42/adjust", body | {"usd": 8}))
    _check("adjust", await control.call("POST", "/api/v1/users/user-42/adjust", body | {"request_id": "a", "usd": -9}))
    _check("adjust", await control.call("POST", "/api/v1/users/user-42/adjust", {}))
    for user in ("user-42", "nobody"):
        _check("user", await control.call("GET", f"/api/v1/users/{user}?tier=pro"))
        _check("userDays", await control.call("GET", f"/api/v1/users/{user}/days"))
        _check("usage", await control.call("GET", f"/api/v1/usage?user_id={user}"))
    _check("usage", await control.call("GET", "/api/v1/usage?tier=pro"))
    _check("usage", await control.call("GET", "/api/v1/usage"))
    _check("tiers", await control.call("GET", "/api/v1/tiers"))
    _check("dryRun", await control.call("GET", "/api/v1/dry-run"))
    _check("sidecars", await control.call("GET", "/api/v1/sidecars"))
    _check("events", await control.call("GET", "/api/v1/events?type=all"))
    _check("eventsCsv", await control.call("GET", "/api/v1/events.csv?type=all"))
    assert {"adjusted"} == {
        row["type"] for row in (await control.call("GET", "/api/v1/events?type=all")).document["items"]
    }


async def test_the_document_is_served(control: ControlPlane) -> None:
    """To whoever may look."""
    answer = await control.call("GET", "/api/v1/openapi.json")
    assert (200, DOCUMENT) == (answer.status, answer.document)


async def test_usage_events_and_the_breakdown_are_as_described(control: ControlPlane) -> None:
    """Charged, repeated, refused; the rows, and as CSV."""
    event = {"model": "m", "user_id": "ann", "tier": "pro", "input_tokens": 1, "output_tokens": 2, "request_id": "r"}
    for changes in ({}, {}, {"output_tokens": 3}, {"tier": "*"}, {"request_id": None, "user_id": None, "group": "g"}):
        _check("usageEvent", await control.call("POST", "/api/events", event | changes))
    _check("usageEvent", await control.call("POST", "/api/events", b"nonsense"))
    for query in ("", "?by=model&unpriced=true", "?by=tier&sort=average&order=asc&limit=1", "?by=user", "?days=36"):
        _check("breakdown", await control.call("GET", f"/api/v1/breakdown{query}"))
    _check("breakdownCsv", await control.call("GET", "/api/v1/breakdown.csv?by=model&days=2"))
    _check("breakdownCsv", await control.call("GET", "/api/v1/breakdown.csv?q=x"))
