"""The operations and the schema of webhooks in the OpenAPI document."""

from typing import Final

from controlplane.api.openapi_operation import JSON, Operation, Schema
from controlplane.api.openapi_problems import READ
from controlplane.api.openapi_rules import TEXT
from controlplane.webhook_file import Format, Kind
from ledger.json_schema import BOOLEAN, COUNT, MOMENT, closed, list_of, nullable, one_of, ref

NAME_IN_PATH: Final = {"name": "name", "in": "path", "required": True, "schema": TEXT}

WEBHOOKS: Final = (
    Operation(
        path="/webhooks",
        method="get",
        name="webhooks",
        summary="Who is told of what happens, how far behind each is, and what went wrong",
        answers={JSON: "Webhooks"},
        problems=READ,
    ),
    Operation(
        path="/webhooks/{name}/test",
        method="post",
        name="testWebhook",
        summary="Send a test message to a webhook, once",
        parameters=(NAME_IN_PATH,),
        answers={JSON: "WebhookTested"},
        problems=(*READ, "webhook_not_found", "webhook_failed"),
    ),
)


def webhook_schemas() -> dict[str, Schema]:
    """Return the schemas by name."""
    webhook = closed(
        {
            "name": TEXT,
            "host": TEXT,
            "format": one_of(Format),
            "signed": BOOLEAN,
            "events": list_of(one_of(Kind)),
            "tiers": nullable(list_of(TEXT)),
            "lag_events": COUNT,
            "pending_events": COUNT,
            "delivered": COUNT,
            "last_delivery_at": nullable(MOMENT),
            "failing_since": nullable(MOMENT),
            "last_error": nullable(TEXT),
        }
    )
    return {
        "Webhook": webhook,
        "Webhooks": closed({"items": list_of(ref("Webhook"))}),
        "WebhookTested": closed({"delivered": BOOLEAN}),
    }
