"""Parameters of the operations: in the query, the path and the headers."""

from typing import Any, Final

from controlplane.api.openapi_rules import NOTE as NOTE_SCHEMA
from controlplane.api.queries import MAX_LIMIT, MAX_TEXT_LENGTH
from controlplane.rule_lists import SORTS
from controlplane.rule_rows import RuleState
from ledger.events import ACTIONS, EventType
from ledger.json_schema import MOMENT, USER_ID
from ledger.rules import Action
from ledger.windows import WindowType

Parameter = dict[str, Any]


def query(name: str, schema: dict[str, Any]) -> Parameter:
    """Return an optional parameter of the query."""
    return {"name": name, "in": "query", "required": False, "schema": schema}


def boolean(name: str) -> Parameter:
    """Return an optional flag."""
    return query(name, {"type": "string", "enum": ["true", "false"]})


def words(name: str, choices: list[str]) -> Parameter:
    """Return an optional list of words, with commas between them."""
    schema = {"type": "array", "items": {"type": "string", "enum": choices}}
    return {**query(name, schema), "style": "form", "explode": False}


TEXT: Final = {"type": "string", "maxLength": MAX_TEXT_LENGTH}
CURSOR: Final = query("cursor", {"type": "string", "description": "`next_cursor` of the page before."})
LIMIT: Final = query("limit", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": 50})
PAGE: Final = (CURSOR, LIMIT)
NOTE: Final = query("change_note", NOTE_SCHEMA)
IDS: Final = boolean("ids")

LIST_FILTERS: Final = (
    query("q", {**TEXT, "description": "Part of the key or the note, in any case."}),
    words("status", [str(state) for state in RuleState]),
    words("action", [str(action) for action in Action]),
    words("window", [str(window) for window in WindowType]),
    query("sort", {"type": "string", "enum": list(SORTS), "default": SORTS[0]}),
    query("order", {"type": "string", "enum": ["asc", "desc"], "default": "asc"}),
)
LIST: Final = (*LIST_FILTERS, *PAGE)

EVENT_FILTERS: Final = (
    words("action", sorted(str(action) for action in ACTIONS)),
    words("type", [*(str(kind) for kind in EventType), "all"]),
    query("user_id", USER_ID),
    query("tier", USER_ID),
    query("group", TEXT),
    query("model", TEXT),
    query("rule_id", TEXT),
    query("q", TEXT),
    query("since", MOMENT),
    query("until", MOMENT),
)
EVENT_PAGE: Final = (query("cursor", {"type": "string"}), LIMIT)
RESUME: Final = (
    query("after", {"type": "string", "description": "`stream_cursor` of a page, or the id of the last event."}),
    {"name": "Last-Event-ID", "in": "header", "required": False, "schema": {"type": "string"}},
)

RULE_ID: Final[Parameter] = {"name": "rule_id", "in": "path", "required": True, "schema": {"type": "string"}}
USER_IN_PATH: Final[Parameter] = {"name": "user_id", "in": "path", "required": True, "schema": USER_ID}
IF_MATCH: Final[Parameter] = {
    "name": "If-Match",
    "in": "header",
    "required": True,
    "schema": {"type": "string", "pattern": '^"(0|[1-9][0-9]{0,15})"$'},
    "description": "The ETag of what was read.",
}
