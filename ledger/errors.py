"""The errors of the ledger.

::

    LedgerError
    ├── InvalidInput            a field of the caller is wrong (400)
    ├── RuleSetInvalid          a rule set has faults, all of them listed (400)
    ├── StaleRevision           an older rule set than the one in force was pushed (409)
    ├── RevisionConflict        the rules were changed by someone else meanwhile (409)
    ├── HistoryGone             an earlier revision of the rules is not kept any more (410)
    ├── RequestMismatch         the request id was used with another body (422)
    ├── CounterOverflow         a counter would pass the cap (422)
    ├── CreditExceedsSpend      a credit would take a counter below zero (422)
    ├── HoldConflict            the hold's state forbids the operation (409)
    ├── HoldNotFound            no hold under this request id (404)
    ├── HoldTooOld              ``reserved_at`` is older than the retention (410)
    └── StoreError
        ├── StoreUnavailable    Redis did not answer in time, or not at all (503)
        │   └── StoreNotAsked   nothing was sent, because Redis is not answering (503)
        ├── StoreOverloaded     our own queue is full (503)
        └── StoreFull           Redis refuses writes that need memory (503)

Every error has a stable ``code``; the HTTP status beside it is how the sidecar answers.
"""


class LedgerError(Exception):
    """The root: ``code`` is stable, the message says what to do, ``field`` names the culprit if there is one."""

    code = "internal"
    status = 500

    def __init__(self, message: str, *, field: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        if code is not None:
            self.code = code


class InvalidInput(LedgerError):
    """A field of the caller has a wrong type or value; nothing was written."""

    code = "invalid_field"
    status = 400


class RuleSetInvalid(LedgerError):
    """A rule set was refused; ``faults`` lists every fault as (path, message)."""

    code = "invalid_rules"
    status = 400

    def __init__(self, faults: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{path}: {message}" for path, message in faults))
        self.faults = faults


class StaleRevision(LedgerError):
    """A rule set with an older revision than the one in force was pushed; fetch, merge and push again."""

    code = "stale_revision"
    status = 409


class RevisionConflict(LedgerError):
    """The rules are not what the change was made for; `revision` is what they stand at. Read again and repeat."""

    code = "revision_conflict"
    status = 409

    def __init__(self, message: str, *, revision: int) -> None:
        super().__init__(message, field="revision")
        self.revision = revision


class HistoryGone(LedgerError):
    """An earlier revision of the rules cannot be made again: changes or snapshots on the way to it were dropped."""

    code = "history_gone"
    status = 410


class RequestMismatch(LedgerError):
    """This request id was already used with another body; ``field`` names the first difference."""

    code = "request_mismatch"
    status = 422


class CounterOverflow(LedgerError):
    """A counter of this user would pass the cap of 8,000,000 USD."""

    code = "counter_overflow"
    status = 422


class CreditExceedsSpend(LedgerError):
    """A credit takes more than was spent in a window; the message names it and what is possible at most."""

    code = "credit_exceeds_spend"
    status = 422


class HoldConflict(LedgerError):
    """The hold's state forbids the operation; ``code`` says which state that is."""

    code = "hold_conflict"
    status = 409


class HoldNotFound(LedgerError):
    """No hold is known under this user and request id; settle again with ``reserved_at`` to charge it."""

    code = "hold_not_found"
    status = 404


class HoldTooOld(LedgerError):
    """``reserved_at`` is older than the retention of 48 hours; the amount was kept as unattributed."""

    code = "hold_too_old"
    status = 410


class StoreError(LedgerError):
    """The store gave no answer that could be used; whether the operation took effect is unknown."""

    code = "store_unavailable"
    status = 503


class StoreUnavailable(StoreError):
    """Redis did not answer in time, or could not be reached."""


class StoreNotAsked(StoreUnavailable):
    """Redis has not been answering, or the deadline had passed: nothing was sent, so nothing can have landed."""


class StoreOverloaded(StoreError):
    """Too many operations wait for Redis; nothing was sent."""

    code = "overloaded"


class StoreFull(StoreError):
    """Redis refuses writes because ``maxmemory`` is reached; nothing was written."""

    code = "store_full"
