"""The OpenAPI 3.1 document of the control plane: one line an operation here, schemas and problems beside it."""

from typing import Any, Final

from controlplane.api.openapi_operation import CSV, EVENTS, JSON, YAML, Operation, Schema, describe
from controlplane.api.openapi_parameters import (
    EVENT_FILTERS,
    EVENT_PAGE,
    IDS,
    IF_MATCH,
    LIST,
    LIST_FILTERS,
    NOTE,
    PAGE,
    RESUME,
    RULE_ID,
    USER_IN_PATH,
    boolean,
    query,
)
from controlplane.api.openapi_problems import BODY, LOCKED, OPEN, READ, RULES, WRITE
from controlplane.api.openapi_reads import read_schemas
from controlplane.api.openapi_rules import rule_schemas
from controlplane.api.openapi_usage import BREAKDOWN, EVENT, usage_schemas
from controlplane.api.openapi_webhooks import WEBHOOKS, webhook_schemas
from ledger.json_schema import TIER, USER_ID, nullable, ref

API_VERSION: Final = "1"


def openapi_document() -> dict[str, Any]:
    """Return the document."""
    paths: dict[str, Any] = {}
    for operation in (*SESSIONS, *rule_operations(), *SETTINGS, *PRICES, *RULE_SETS, *READS, *WEBHOOKS, *BREAKDOWN):
        paths.setdefault(f"/api/v1{operation.path}", {})[operation.method] = describe(operation)
    paths[EVENT.path] = {EVENT.method: describe(EVENT)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Spendgate control plane",
            "version": API_VERSION,
            "description": "Rules, their trail, and what was spent and decided. Times are RFC 3339 UTC, amounts USD.",
        },
        "servers": [{"url": "http://127.0.0.1:8788", "description": "The page's listener"}],
        "paths": paths,
        "components": {
            "schemas": {**rule_schemas(), **read_schemas(), **webhook_schemas(), **usage_schemas()},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "Needed where tokens are set."},
                "session": {"type": "apiKey", "in": "cookie", "name": "sg_session"},
            },
        },
    }


SESSIONS: Final = (
    Operation(
        path="/session",
        method="get",
        name="getSession",
        summary="Who calls, and whether a token is needed here",
        answers={JSON: "Session"},
        problems=OPEN,
        needs_nothing=True,
    ),
    Operation(
        path="/session",
        method="post",
        name="logIn",
        summary="Open a session for a token; the answer sets a cookie",
        body={JSON: "LogIn"},
        answers={JSON: "Session"},
        problems=(*OPEN, *BODY, "forbidden"),
        status=201,
        needs_nothing=True,
    ),
    Operation(
        path="/session",
        method="delete",
        name="logOut",
        summary="End the session",
        answers={},
        problems=OPEN,
        status=204,
        needs_nothing=True,
    ),
)

SETTINGS: Final = (
    Operation(
        path="/settings",
        method="get",
        name="getSettings",
        summary="The workspace's settings",
        answers={JSON: "Settings"},
        problems=READ,
        has_etag=True,
    ),
    Operation(
        path="/settings",
        method="put",
        name="putSettings",
        summary="Put whole settings in the place of these; `mode` is the emergency switch",
        parameters=(IF_MATCH,),
        body={JSON: "SettingsBody"},
        answers={JSON: "Settings"},
        problems=(*WRITE, *LOCKED),
        has_etag=True,
    ),
)

PRICES: Final = (
    Operation(
        path="/prices",
        method="get",
        name="getPrices",
        summary="The price book: a list of one's own prices, or a compiled book",
        answers={JSON: "Prices"},
        problems=READ,
        has_etag=True,
    ),
    Operation(
        path="/prices",
        method="put",
        name="putPrices",
        summary="Put a price book in the place of this one, on every plan; null takes all prices away",
        parameters=(NOTE, {**IF_MATCH, "required": False}),
        body={JSON: nullable(ref("Prices")), YAML: {}},
        answers={JSON: "PricesResult"},
        problems=(*WRITE, *RULES, "precondition_failed", "unsupported_media_type"),
        has_etag=True,
    ),
)

DOCUMENTS: Final[dict[str, str | Schema]] = {YAML: "RuleSet", JSON: "RuleSet"}

RULE_SETS: Final = (
    Operation(
        path="/rules/export",
        method="get",
        name="exportRules",
        summary="All rules, settings and prices as a rule file; YAML unless Accept asks for JSON",
        parameters=(IDS,),
        answers=DOCUMENTS,
        problems=READ,
        has_etag=True,
    ),
    Operation(
        path="/rules/import",
        method="post",
        name="importRules",
        summary="Make the rules what a rule file says; `dry_run` tells what that would change",
        parameters=(boolean("dry_run"), NOTE, {**IF_MATCH, "required": False}),
        body={JSON: "RuleSet", YAML: {}},
        answers={JSON: {"anyOf": [ref("ImportResult"), ref("ImportDiff")]}},
        problems=(*WRITE, *RULES, "precondition_failed", "unsupported_media_type"),
    ),
    Operation(
        path="/rules/revisions/{revision}",
        method="get",
        name="getRevision",
        summary="The rules as they stood in an earlier revision",
        parameters=({**query("revision", {"type": "integer", "minimum": 0}), "in": "path", "required": True}, IDS),
        answers=DOCUMENTS,
        problems=(*READ, "history_gone"),
        has_etag=True,
    ),
    Operation(
        path="/rules/restore",
        method="post",
        name="restoreRules",
        summary="Make everything what it was in an earlier revision, as a new one",
        body={JSON: "RestoreBody"},
        answers={JSON: "ImportResult"},
        problems=(*WRITE, *RULES, "history_gone"),
        has_etag=True,
    ),
    Operation(
        path="/audit",
        method="get",
        name="audit",
        summary="Who changed what, when, from what to what, and why; newest first",
        parameters=PAGE,
        answers={JSON: "Trail"},
        problems=READ,
    ),
)

READS: Final = (
    Operation(
        path="/events",
        method="get",
        name="events",
        summary="The enforcement log, newest first; without a filter the warned, blocked and dry-run decisions",
        parameters=(*EVENT_FILTERS, *EVENT_PAGE),
        answers={JSON: "Events"},
        problems=READ,
    ),
    Operation(
        path="/events.csv",
        method="get",
        name="eventsCsv",
        summary="The same as CSV, at most 100,000 rows",
        parameters=EVENT_FILTERS,
        answers={CSV: {"type": "string"}},
        problems=(*READ, "too_many_exports"),
    ),
    Operation(
        path="/events/stream",
        method="get",
        name="eventStream",
        summary="What happens, as it happens: events `enforcement`, `rules`, `sidecars`, `store`, `gap`",
        parameters=(*EVENT_FILTERS, *RESUME),
        answers={EVENTS: {"type": "string"}},
        problems=(*READ, "log_not_followable", "too_many_streams"),
    ),
    Operation(
        path="/usage",
        method="get",
        name="usage",
        summary="What a user spent, or, without `user_id`, a tier; one of them is required",
        parameters=(query("user_id", USER_ID), query("tier", USER_ID)),
        answers={JSON: {"anyOf": [ref("UserUsage"), ref("TierUsage")]}},
        problems=READ,
    ),
    Operation(
        path="/users/{user_id}",
        method="get",
        name="user",
        summary="A user now: windows, budgets, which rules apply or were skipped and why, open holds",
        parameters=(USER_IN_PATH, query("tier", TIER)),
        answers={JSON: "User"},
        problems=READ,
    ),
    Operation(
        path="/users/{user_id}/days",
        method="get",
        name="userDays",
        summary="A user's spend by day of the workspace, today last",
        parameters=(USER_IN_PATH, query("days", {"type": "integer", "minimum": 1, "maximum": 35})),
        answers={JSON: "UserDays"},
        problems=READ,
    ),
    Operation(
        path="/users/{user_id}/adjust",
        method="post",
        name="adjust",
        summary="Credit, refund or correct what a user has spent; once a request id, on every window or none",
        parameters=(USER_IN_PATH,),
        body={JSON: "Adjustment"},
        answers={JSON: "Adjusted"},
        problems=(*WRITE, "counter_overflow", "credit_exceeds_spend", "not_kept", "request_mismatch"),
    ),
    Operation(
        path="/tiers",
        method="get",
        name="tiers",
        summary="Tiers that have a template or were seen in a current window, by name",
        parameters=(query("q", {"type": "string", "maxLength": 256}), boolean("has_template"), *PAGE),
        answers={JSON: "Tiers"},
        problems=READ,
    ),
    Operation(
        path="/dry-run",
        method="get",
        name="dryRun",
        summary="What each dry-run rule would have blocked in its current window, the largest amount first",
        parameters=PAGE,
        answers={JSON: "DryRun"},
        problems=READ,
    ),
    Operation(
        path="/sidecars",
        method="get",
        name="sidecars",
        summary="Which sidecars run, and which rules each has",
        answers={JSON: "Sidecars"},
        problems=READ,
    ),
)


def rule_operations() -> list[Operation]:
    """Return the operations of templates and of overrides, which are alike, and the import of overrides."""
    preview = Operation(
        path="/overrides/import",
        method="post",
        name="importOverrides",
        summary="Add or change many overrides from CSV; `preview` tells what that would do, with every fault",
        parameters=(boolean("preview"), NOTE, {**IF_MATCH, "required": False}),
        body={CSV: {"type": "string"}},
        answers={JSON: {"anyOf": [ref("ImportResult"), ref("OverridePreview")]}},
        problems=(*WRITE, *RULES, "precondition_required", "precondition_failed", "unsupported_media_type"),
    )
    return [*_rules("template", "/templates"), preview, *_rules("override", "/overrides")]


def _rules(noun: str, path: str) -> list[Operation]:
    title = noun.capitalize()
    lists = [
        Operation(
            path=path,
            method="get",
            name=f"list{title}s",
            summary=f"The {noun}s, searched, filtered, sorted and paged",
            parameters=LIST,
            answers={JSON: f"{title}s"},
            problems=READ,
        ),
        Operation(
            path=f"{path}.csv",
            method="get",
            name=f"{noun}sCsv",
            summary=f"The {noun}s that a filter wants, as CSV",
            parameters=LIST_FILTERS,
            answers={CSV: {"type": "string"}},
            problems=READ,
        ),
    ]
    return [*lists, *_changes(noun, path)]


def _changes(noun: str, path: str) -> list[Operation]:
    title = noun.capitalize()
    one = f"{path}/{{rule_id}}"
    body: dict[str, str | Schema] = {JSON: f"{title}Body"}
    answers: dict[str, str | Schema] = {JSON: f"{title}Row"}
    problems = (*WRITE, *RULES, *LOCKED, "rule_not_found")
    create = Operation(
        path=path,
        method="post",
        name=f"create{title}",
        summary=f"Add a {noun}",
        body=body,
        answers=answers,
        problems=(*WRITE, *RULES, "rule_exists"),
        status=201,
        has_etag=True,
    )
    get = Operation(
        path=one,
        method="get",
        name=f"get{title}",
        summary=f"One {noun}",
        parameters=(RULE_ID,),
        answers=answers,
        problems=(*READ, "rule_not_found"),
        has_etag=True,
    )
    put = Operation(
        path=one,
        method="put",
        name=f"put{title}",
        summary=f"Put a whole document in the place of a {noun}",
        parameters=(RULE_ID, IF_MATCH),
        body=body,
        answers=answers,
        problems=(*problems, "rule_exists"),
        has_etag=True,
    )
    delete = Operation(
        path=one,
        method="delete",
        name=f"delete{title}",
        summary=f"Remove a {noun}",
        parameters=(RULE_ID, IF_MATCH, NOTE),
        answers={},
        problems=problems,
        status=204,
    )
    return [create, get, put, delete]
