"""The schemas of usage events and their answers, for the documents of both planes."""

from typing import Any, Final

from ledger.json_schema import BOOLEAN, MOMENT, NULL, TIER, USER_ID, Schema, closed, nullable, ref
from ledger.names import MAX_REQUEST_ID_LENGTH
from ledger.usage import MAX_TOKENS

USAGE_EVENT_EXAMPLE: Final[dict[str, Any]] = {
    "api_key": "the-token",
    "group": "search",
    "user_id": "user-42",
    "tier": "pro",
    "model": "gpt-5",
    "input_tokens": 1200,
    "output_tokens": 350,
    "latency_ms": 840,
}
USAGE_CHARGE_EXAMPLE: Final[dict[str, Any]] = {
    "request_id": "9367f4d53845858095778d9048db7f41",
    "replayed": False,
    "user_id": "user-42",
    "tier": "pro",
    "group": "search",
    "model": "gpt-5",
    "cost_usd": 0.005,
    "unpriced": False,
    "recorded_at": "2026-01-31T12:00:00.661Z",
}

_NUMBER: Final[Schema] = {"description": "Stands for the text of its digits.", "type": "integer"}
_NOTHING: Final[Schema] = {"type": "string", "maxLength": 0}
_TOKENS: Final[Schema] = {
    "description": "Null or left out: unknown, so the call has no price.",
    "anyOf": [{"type": "integer", "minimum": 0, "maximum": MAX_TOKENS}, NULL],
}
_IGNORED: Final[Schema] = {"description": "Accepted and not kept."}


def usage_event_schemas() -> dict[str, Schema]:
    """Return the schemas of an event and of the answer to it; they refer to ``UsdNumber``."""
    request_id = {**USER_ID, "maxLength": MAX_REQUEST_ID_LENGTH}
    charge = {
        "request_id": {"type": "string"},
        "replayed": BOOLEAN,
        "user_id": nullable(USER_ID),
        "tier": nullable(TIER),
        "group": nullable(USER_ID),
        "model": USER_ID,
        "cost_usd": ref("UsdNumber"),
        "unpriced": BOOLEAN,
        "recorded_at": MOMENT,
    }
    event: Schema = {
        "description": "What `@llmcosttracker/sdk` sends. Fields that are not named here are left alone.",
        "type": "object",
        "properties": {
            "api_key": {"description": "The token, where one is set; compared, never kept or logged."},
            "model": {"anyOf": [USER_ID, _NUMBER]},
            "user_id": _optional(USER_ID),
            "tier": _optional(TIER),
            "group": _optional(USER_ID),
            "input_tokens": _TOKENS,
            "output_tokens": _TOKENS,
            "request_id": nullable(request_id),
            "prompt_version": _IGNORED,
            "latency_ms": _IGNORED,
        },
        "required": ["model"],
    }
    return {"UsageEvent": event, "UsageCharge": closed(charge)}


def _optional(name: Schema) -> Schema:
    return {"anyOf": [name, _NUMBER, _NOTHING, NULL]}
