"""What a caller is told when the store cannot be asked: the rules' own choice, marked as degraded."""

from ledger.decisions import Decision, Outcome, Reason
from ledger.errors import StoreError, StoreOverloaded
from ledger.operations import Admission
from ledger.rules import PolicyKind


def degraded_decision(admission: Admission, error: StoreError, at_ms: int) -> Decision:
    """Return the decision that the strictest `on_store_failure` of the user's rules gives.

    Counters are unknown, so `budgets` is empty. Whether the operation took effect is unknown as well: a repeat with
    the same request id learns it. A local allowance (`allow_up_to_usd`) denies: nothing is counted locally yet.
    """
    plan = admission.plan
    allowed = plan.on_store_failure.kind is PolicyKind.ALLOW and not plan.stopped
    allowed = allowed and admission.refusal is None
    reason = Reason.OVERLOADED if isinstance(error, StoreOverloaded) else Reason.STORE_UNAVAILABLE
    return Decision(
        admission.operation,
        admission.request_id,
        admission.user_id,
        plan.tier,
        Outcome.ALLOW if allowed else Outcome.BLOCK,
        reason,
        (),
        None,
        plan.revision,
        at_ms,
        admission.ttl_ms,
        degraded=True,
    )
