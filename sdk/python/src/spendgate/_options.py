"""The keywords of operations that are passed on as they are."""

from typing import TypedDict

from spendgate._calls import Meta
from spendgate.amounts import Amount
from spendgate.usage import Usage


class ReserveOptions(TypedDict, total=False):
    """What `reserve` takes besides the user."""

    estimate_usd: Amount | None
    usage: Usage | None
    tier: str | None
    group: str | None
    request_id: str | None
    meta: Meta | None
    ttl_s: int
