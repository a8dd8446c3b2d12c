"""Why a change of the rules is refused."""

from ledger.errors import LedgerError
from ledger.rule_book import StoredRule


class RuleNotFound(LedgerError):
    """No rule has this id; it may have been deleted meanwhile."""

    code = "rule_not_found"
    status = 404


class RuleExists(LedgerError):
    """Another rule has this kind, key and window; `current` is that one. Change it instead."""

    code = "rule_exists"
    status = 409

    def __init__(self, message: str, *, current: StoredRule) -> None:
        super().__init__(message, field="key")
        self.current = current


class PreconditionFailed(LedgerError):
    """What was to be changed is not what the caller saw. Read again, and repeat if it is still wanted.

    `current` is the rule now, None for settings and whole imports; `revision` is its revision, or theirs.
    """

    code = "precondition_failed"
    status = 412

    def __init__(self, message: str, *, revision: int, current: StoredRule | None = None) -> None:
        super().__init__(message)
        self.revision = revision
        self.current = current


class PlanRequired(LedgerError):
    """The workspace's plan has no rules: only `growth` has. Settings may be changed, the plan among them."""

    code = "plan_required"
    status = 402


class TooManyRules(LedgerError):
    """The workspace would have more rules than a rule set may."""

    code = "too_many_rules"
    status = 422
