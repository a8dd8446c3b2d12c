"""Usage events that come to the control plane: priced by the rules in force and charged, as a sidecar does it."""

import secrets
from typing import Final

from ledger.decisions import Settlement
from ledger.errors import InvalidInput, LedgerError, StoreUnavailable
from ledger.money import CAP_NANOS
from ledger.operations import Ledger, Resolution
from ledger.plans import compile_plan, plan_without_user
from ledger.prices import Priced
from ledger.rules import RuleSet
from ledger.usage_events import UsageEvent, direct_charge

ATTEMPTS: Final = 2


async def record_event(ledger: Ledger, rules: RuleSet, event: UsageEvent) -> Settlement:
    """Charge an event; raises `LedgerError`. A window that ended on the way is planned anew, once."""
    request_id = event.request_id or secrets.token_hex(16)
    now_ms = await ledger.store_time_ms()
    for _ in range(ATTEMPTS):
        (answer,) = await ledger.resolve([_operation(rules, event, request_id, now_ms)])
        if isinstance(answer, Settlement):
            return answer
        if answer is None or isinstance(answer, LedgerError):
            raise answer or StoreUnavailable("the store gave no answer")
        now_ms = answer.store_ms
    raise StoreUnavailable("the store's clock does not stand still; send the event again with a request_id")


def _operation(rules: RuleSet, event: UsageEvent, request_id: str, now_ms: int) -> Resolution:
    if event.user_id is None:
        plan = plan_without_user(rules, event.tier, now_ms)
    else:
        plan = compile_plan(rules, event.user_id, event.tier, now_ms)
    return direct_charge(event, plan=plan, request_id=request_id, priced=_price(rules, event, now_ms))


def _price(rules: RuleSet, event: UsageEvent, now_ms: int) -> Priced | None:
    usage = event.usage
    priced = None if usage is None else rules.prices.price(usage, now_ms)
    if priced is not None and priced.nanos > CAP_NANOS:
        raise InvalidInput("the tokens cost more than the cap of 8,000,000 USD", field="output_tokens")
    return priced
