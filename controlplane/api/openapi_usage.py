"""The operations of usage events and of the breakdown in the OpenAPI document, and their schemas."""

from typing import Final

from controlplane.api.openapi_operation import CSV, JSON, Operation
from controlplane.api.openapi_parameters import LIMIT, TEXT, boolean, query
from controlplane.api.openapi_problems import BODY, OPEN, READ
from controlplane.breakdown import SORTS
from ledger.breakdown import Dimension, NameKind
from ledger.json_schema import COUNT, MOMENT, Schema, closed, nullable, one_of, ref
from ledger.spend_reader import DAYS_KEPT
from ledger.usage_event_schema import usage_event_schemas

_BY: Final = query("by", {**one_of(Dimension), "default": str(Dimension.GROUP)})
_DAYS: Final = query("days", {"type": "integer", "minimum": 1, "maximum": DAYS_KEPT, "default": 30})

EVENT: Final = Operation(
    path="/api/events",
    method="post",
    name="usageEvent",
    summary="Charge a call that was made without asking; never refused because of a limit",
    body={JSON: "UsageEvent"},
    answers={JSON: "UsageCharge"},
    problems=(*OPEN, *BODY, "forbidden", "request_mismatch", "store_error", "store_full", "store_unavailable"),
)
"""Not under ``/api/v1``: the SDK's endpoint ends so."""

BREAKDOWN: Final = (
    Operation(
        path="/breakdown",
        method="get",
        name="breakdown",
        summary="What was used in the last days by group, model or tier, the highest cost first",
        parameters=(
            _BY,
            _DAYS,
            query("q", {**TEXT, "description": "Part of the name, in any case."}),
            boolean("unpriced"),
            query("sort", {"type": "string", "enum": list(SORTS), "default": SORTS[0]}),
            query("order", {"type": "string", "enum": ["asc", "desc"], "default": "desc"}),
            query("cursor", {"type": "string"}),
            LIMIT,
        ),
        answers={JSON: "Breakdown"},
        problems=READ,
    ),
    Operation(
        path="/breakdown.csv",
        method="get",
        name="breakdownCsv",
        summary="A row for each day and name, the oldest day first",
        parameters=(_BY, _DAYS),
        answers={CSV: {"type": "string"}},
        problems=READ,
    ),
)


def usage_schemas() -> dict[str, Schema]:
    """Return the schemas of this module's operations; they refer to ``UsdNumber``."""
    usd, whole = ref("UsdNumber"), {"type": "integer"}
    used: dict[str, Schema] = {
        **dict.fromkeys(("calls", "input_tokens", "output_tokens"), whole),
        "cost_usd": usd,
        "average_cost_usd": nullable(usd),
        "unpriced_calls": whole,
        "unpriced_usd": usd,
    }
    row = closed(
        {"name": {"type": "string"}, "kind": one_of(NameKind), **used, "share_pct": nullable({"type": "number"})}
    )
    page = {
        "items": {"type": "array", "items": row},
        "next_cursor": nullable({"type": "string"}),
        "total": COUNT,
        "revision": COUNT,
        "by": one_of(Dimension),
        "at": MOMENT,
        "from": MOMENT,
        "until": MOMENT,
        "timezone": {"type": "string"},
        "sum": closed(used),
    }
    return {"Breakdown": closed(page), **usage_event_schemas()}
