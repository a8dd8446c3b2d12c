"""What a batch that the store has answered leaves in the journal: what it has changed, and what it told again.

An answer told again is one whose first telling may have been lost on its way, and then is in nobody's journal yet. Two
journals that both have it do no harm: it is done once.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

from ledger.decisions import Decision, Operation, Settlement
from ledger.operations import Admission, Admitted, Resolution, Resolved
from ledger.plans import Plan
from ledger.restores import Restore, RestoreKind, answer_text
from sidecar.journal_entries import Row, restore_of_admission, restore_of_resolution, row_of_restore

Replan = Callable[[str, str | None, int], Plan]
"""Returns the plan of a user (empty: nobody's) and a tier at a moment of the store's clock, Unix milliseconds."""
CHARGING: Final = frozenset({RestoreKind.SETTLE, RestoreKind.RECORD})


def done_admissions(admissions: Sequence[Admission], answers: Sequence[Admitted], replan: Replan) -> list[Row]:
    """Return the checks and reserves of a batch that were allowed: a refusal or an error has changed nothing."""
    return [
        _replayed_admission(each, answer, replan) if answer.replayed else (each.plan, _admission_values(each, answer))
        for each, answer in zip(admissions, answers, strict=True)
        if isinstance(answer, Decision) and answer.allowed
    ]


def _admission_values(admission: Admission, answer: Decision) -> tuple[Any, ...]:
    """Return the values of `FIELDS`, as those of a `Restore` with the answer would be: made for every check."""
    return (
        admission.operation,
        admission.user_id,
        admission.request_id,
        answer.at_ms,
        admission.amount_nanos,
        admission.sent,
        admission.ttl_ms,
        None,
        admission.group,
        admission.model,
        admission.price_version,
        admission.input_tokens,
        admission.output_tokens,
        admission.unpriced,
        admission.attempt,
        0,
        admission.meta,
        None,
        answer_text(answer),
    )


def _replayed_admission(admission: Admission, answer: Decision, replan: Replan) -> Row:
    """Return what is kept of an answer that was told again: also its own windows, if they have ended since.

    What it was told of budgets is left out if the rules are others by now: its numbers would stand beside wrong ones.
    """
    restore = _as_it_was(restore_of_admission(admission, answer.at_ms), replan)
    plan = restore.plan
    if plan is not None and [each.terms for each in plan.budgets] == [each.terms for each in answer.budgets]:
        restore.answer = answer_text(answer)
    else:
        restore.reason = answer.reason
    return row_of_restore(restore)


def done_resolutions(resolutions: Sequence[Resolution], answers: Sequence[Resolved], replan: Replan) -> list[Row]:
    """Return the settles, releases, extends and direct charges that were accepted; an expiry follows by itself."""
    return [
        _resolution(each, answer, replan)
        for each, answer in zip(resolutions, answers, strict=True)
        if isinstance(answer, Settlement) and each.operation is not Operation.EXPIRE
    ]


def _resolution(resolution: Resolution, answer: Settlement, replan: Replan) -> Row:
    restore = restore_of_resolution(resolution, answer.at_ms)
    if answer.replayed and restore.kind in CHARGING and not answer.unpriced:
        restore.amount_nanos = answer.charged_nanos  # Prices may be others by now.
    if answer.replayed and restore.reserved_at_ms is None:
        restore = _as_it_was(restore, replan)
    return row_of_restore(restore)


def _as_it_was(restore: Restore, replan: Replan) -> Restore:
    """Give an operation the windows of its own time."""
    plan = restore.plan
    if plan is not None and not plan.valid_from_ms <= restore.at_ms < plan.valid_until_ms:
        restore.plan = replan(restore.user_id, plan.tier, restore.at_ms)
    return restore
