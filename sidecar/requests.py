"""What a caller asks of the sidecar, after the wire was decoded and validated, before rules and prices are known."""

from dataclasses import dataclass

from ledger.decisions import DEFAULT_TTL_S, Operation
from ledger.usage import Usage


@dataclass(slots=True)
class AdmitRequest:
    """A check or a reserve. Exactly one of `amount_nanos` and `usage` is set; `request_id` only a check leaves out.

    `group` and `meta` (compact JSON text or empty) are never compared.
    """

    operation: Operation
    user_id: str
    request_id: str | None = None
    tier: str | None = None
    group: str | None = None
    amount_nanos: int | None = None
    usage: Usage | None = None
    ttl_s: int = DEFAULT_TTL_S
    meta: str = ""


@dataclass(slots=True, kw_only=True)
class ResolveRequest:
    """A settle, release or extend. A settle has exactly one of `amount_nanos` and `usage`.

    `ttl_s` is for extend; `tier`, `group` and `reserved_at_ms` (store time, Unix milliseconds) for settle.
    """

    operation: Operation
    user_id: str
    request_id: str
    tier: str | None = None
    group: str | None = None
    amount_nanos: int | None = None
    usage: Usage | None = None
    ttl_s: int = DEFAULT_TTL_S
    reserved_at_ms: int | None = None


Request = AdmitRequest | ResolveRequest
