"""What `ledger.memory_ledger` charges for usages, and the records of direct charges."""

from dataclasses import replace
from typing import Final

from ledger.decisions import Operation, Settlement
from ledger.errors import RequestMismatch
from ledger.memory_records import Record
from ledger.operations import Resolution, first_difference, sent_text
from ledger.plans import Plan
from ledger.rules import PolicyKind

RECONSTRUCTED_SENT: Final = sent_text(Operation.SETTLE, None, "", 0)
"""What a reconstructed record says it was sent: no check or reserve can match it."""


def charge_without_price(plan: Plan, otherwise_nanos: int) -> int:
    """Return what a usage without a price is charged: the rules' flat charge, or else the given amount."""
    policy = plan.on_unpriced
    return policy.amount_nanos if policy.kind is PolicyKind.AMOUNT else otherwise_nanos


def charged_before(resolution: Resolution, record: Record) -> Settlement | RequestMismatch:
    """Return the answer to a direct charge whose request id is known: a replay, or what differs."""
    if record.sent != resolution.sent or record.settlement is None:
        field = first_difference(resolution.sent, record.sent)
        return RequestMismatch(f"this request_id was already used with another {field}", field=field)
    return replace(record.settlement, replayed=True)


def direct_record(resolution: Resolution, plan: Plan, now_ms: int) -> Record:
    """Return the record of a direct charge."""
    amount = charge_without_price(plan, 0) if resolution.amount_nanos is None else resolution.amount_nanos
    made_ms = now_ms if resolution.reserved_at_ms is None else resolution.reserved_at_ms
    record = Record(
        operation=Operation.RECORD,
        plan=plan,
        user_id=resolution.user_id,
        request_id=resolution.request_id,
        sent=resolution.sent,
        state=None,
        amount_nanos=amount,
        charged_nanos=amount,
        admitted_ms=min(made_ms, now_ms),
        changed_ms=now_ms,
        group=resolution.group,
    )
    note_usage(record, resolution)
    return record


def note_usage(record: Record, resolution: Resolution) -> None:
    """Note what was used and how it was priced. A settle by amount keeps the model of the reserve."""
    record.price_version = resolution.price_version
    record.input_tokens, record.output_tokens = resolution.input_tokens, resolution.output_tokens
    record.unpriced = resolution.amount_nanos is None
    record.model = resolution.model or record.model
