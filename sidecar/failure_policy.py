"""What a caller is told when the store cannot be asked: the rules' own choice, marked as degraded."""

from ledger.decisions import Decision, Outcome, Reason
from ledger.errors import StoreError, StoreOverloaded
from ledger.operations import Admission
from ledger.rules import PolicyKind
from sidecar.store_clock import StoreClock


class FailurePolicy:
    """Decides without the store, at once and from memory; what it allows must be made durable before it is answered.

    Counters are unknown, so `budgets` is empty. Whether the operation took effect is unknown as well: a repeat with
    the same request id learns it. A local allowance (`allow_up_to_usd`) denies: nothing is counted locally yet.
    """

    def __init__(self, clock: StoreClock) -> None:
        self._clock = clock

    def decide(self, admission: Admission, error: StoreError) -> Decision:
        """Return the decision that the strictest `on_store_failure` of the user's rules gives."""
        plan = admission.plan
        allowed = plan.on_store_failure.kind is PolicyKind.ALLOW and admission.refusal is None
        return Decision(
            admission.operation,
            admission.request_id,
            admission.user_id,
            plan.tier,
            Outcome.ALLOW if allowed else Outcome.BLOCK,
            Reason.OVERLOADED if isinstance(error, StoreOverloaded) else Reason.STORE_UNAVAILABLE,
            (),
            None,
            plan.revision,
            self._clock.now_ms(),
            admission.ttl_ms,
            degraded=True,
            on_store_failure=plan.on_store_failure,
        )
