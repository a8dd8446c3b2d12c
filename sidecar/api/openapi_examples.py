"""Examples of the OpenAPI document: requests, and the answers that a sidecar gave to them."""

from typing import Any, Final

from ledger.decisions import Operation
from ledger.usage_event_schema import USAGE_CHARGE_EXAMPLE

REQUESTS: Final[dict[Operation, dict[str, Any]]] = {
    Operation.CHECK: {"user_id": "user-42", "tier": "pro", "request_id": "call-1", "cost_usd": 0.0125},
    Operation.RESERVE: {"user_id": "user-42", "tier": "pro", "request_id": "call-2", "estimate_usd": 0.5, "ttl_s": 60},
    Operation.SETTLE: {
        "user_id": "user-42",
        "request_id": "call-2",
        "usage": {"provider": "openai", "model": "gpt-5", "input_tokens": 1200, "output_tokens": 350},
    },
    Operation.RELEASE: {"user_id": "user-42", "request_id": "call-2"},
    Operation.EXTEND: {"user_id": "user-42", "request_id": "call-2", "ttl_s": 120},
}
BATCH: Final[dict[str, Any]] = {
    "operations": [{"op": str(name), **REQUESTS[name]} for name in (Operation.CHECK, Operation.RESERVE)]
}
RULE_SET: Final[dict[str, Any]] = {
    "revision": 42,
    "workspace": {"timezone": "UTC"},
    "rules": [{"kind": "tier_template", "key": "free", "limit_usd": 5, "window": "month", "action": "block"}],
}

_MONTH: Final = {
    "window": "month",
    "window_start": "2026-01-01T00:00:00Z",
    "resets_at": "2026-02-01T00:00:00Z",
}
_RULE: Final[dict[str, Any]] = {
    "rule_id": "rule-d7510f0f01c906c1",
    "rule_kind": "user_override",
    "action": "warn",
    "limit_usd": 200.0,
    **_MONTH,
}
_CALL: Final[dict[str, Any]] = {
    "decision": "allow",
    "allowed": True,
    "would_block": False,
    "reason": "under_limit",
    "replayed": False,
    "degraded": False,
    "user_id": "user-42",
    "tier": "pro",
    "rules_revision": 42,
}


def _budget(spend_usd: float, held_usd: float, remaining_usd: float) -> dict[str, Any]:
    amounts = {"spend_usd": spend_usd, "held_usd": held_usd, "remaining_usd": remaining_usd, "percent": 0.0}
    return {**_RULE, **amounts, "warning": None}


def _answer(request_id: str, budget: dict[str, Any], **fields: object) -> dict[str, Any]:
    line = {**budget, "outcome": "allow", "seeded": False}
    return {**_CALL, "request_id": request_id, **budget, "budgets": [line], **fields}


ANSWERS: Final[dict[str, dict[str, Any]]] = {
    "check": _answer("call-1", _budget(0.0125, 0.0, 199.9875), on_store_failure="allow"),
    "reserve": _answer(
        "call-2",
        _budget(0.0125, 0.5, 199.4875),
        on_store_failure="allow",
        reserved_at="2026-01-31T12:00:00.661Z",
        expires_at="2026-01-31T12:01:00.661Z",
        hold_state="open",
    ),
    "settle": _answer(
        "call-2",
        _budget(0.0175, 0.0, 199.9825),
        hold_state="settled",
        state_before="open",
        cost_usd=0.005,
        estimate_usd=0.5,
        overrun=False,
        late=False,
        reconstructed=False,
        unpriced=False,
    ),
    "usageEvent": USAGE_CHARGE_EXAMPLE,
    "putRules": {"revision": 42, "rules": 1, "changed": True},
}
"""By operation."""
