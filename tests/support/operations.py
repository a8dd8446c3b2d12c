"""Operations as the enforcer makes them, for tests of what stands behind it."""

from ledger.decisions import Operation
from ledger.operations import Admission, sent_text
from ledger.plans import Plan

FAR_MS = 1 << 52


def admission_of(plan: Plan, user_id: str, request_id: str, nanos: int) -> Admission:
    """Return a reserve under a plan."""
    return Admission(
        operation=Operation.RESERVE,
        plan=plan,
        request_id=request_id,
        user_id=user_id,
        amount_nanos=nanos,
        sent=sent_text(Operation.RESERVE, plan.tier, str(nanos), 600_000),
        not_after_ms=FAR_MS,
        ttl_ms=600_000,
    )
