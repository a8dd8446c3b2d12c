"""What a caller is told when the store cannot be asked: the rules' own choice, marked as degraded."""

from collections.abc import Callable

from ledger.decisions import Decision, Operation, Outcome, Reason
from ledger.errors import StoreError, StoreOverloaded
from ledger.operations import Admission, Resolution
from ledger.rules import DENY, Policy, PolicyKind
from sidecar.allowance import Allowance
from sidecar.store_clock import StoreClock


class FailurePolicy:
    """Decides without the store: by the strictest `on_store_failure` of the user's rules.

    Counters are unknown, so `budgets` is empty. Whether the operation took effect is unknown as well: a repeat with
    the same request id learns it. Before any rule set is known everything is refused: there may be limits.
    """

    def __init__(
        self, clock: StoreClock, allowance: Allowance, *, knows_rules: Callable[[], bool] = lambda: True
    ) -> None:
        self._clock = clock
        self._allowance = allowance
        self._knows_rules = knows_rules

    async def decide(self, admission: Admission, error: StoreError) -> Decision:
        """Return the decision; what it takes of an allowance is on disk then. Asks nobody else and waits for nobody."""
        plan = admission.plan
        policy = plan.on_store_failure if self._knows_rules() else DENY
        allowed = admission.refusal is None and await self._allows(policy, admission)
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
            on_store_failure=policy,
        )

    def settled(self, resolution: Resolution) -> None:
        """Note that a settle or release was accepted: the actual takes the place of what its reserve has taken."""
        if resolution.operation is Operation.RELEASE:
            self._allowance.settle(resolution.user_id, resolution.request_id, 0)
        elif resolution.operation is Operation.SETTLE and resolution.amount_nanos is not None:
            self._allowance.settle(resolution.user_id, resolution.request_id, resolution.amount_nanos)

    async def _allows(self, policy: Policy, admission: Admission) -> bool:
        if policy.kind is PolicyKind.AMOUNT:
            return await self._allowance.take(admission)
        return policy.kind is PolicyKind.ALLOW
