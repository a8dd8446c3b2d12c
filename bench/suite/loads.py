"""What a load is: who is asked, over which wire, by which users, how many at a time or how many a second."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Wire(StrEnum):
    """How operations travel."""

    JSON = "json"
    MSGPACK = "msgpack"
    STREAM = "stream"


class Users(StrEnum):
    """Which users ask."""

    ONE = "one"
    UNIFORM = "uniform"
    ZIPF = "zipf"
    EACH_ONCE = "each_once"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One load. `address` is a TCP port on loopback or the path of a Unix socket.

    There are `connections` connections. Over HTTP each has one request under way, over a stream `slots` messages of
    `per_frame` operations each. With a `rate_per_second` requests leave when they are due, whatever became of those
    before (open loop); else each when the one before it is answered (closed loop), for `seconds` or until `at_most`
    operations have left.
    With `pairs` each check is a reserve and its settle. Every answer must be the `decision`, and none degraded.
    """

    address: str
    wire: Wire = Wire.JSON
    connections: int = 32
    slots: int = 1
    per_frame: int = 1
    users: Users = Users.UNIFORM
    user_count: int = 1000
    tier: str = "pro"
    pairs: bool = False
    decision: str = "allow"
    seconds: float = 1.0
    at_most: int | None = None
    rate_per_second: float | None = None

    def document(self) -> dict[str, Any]:
        """Return the fields, for JSON."""
        return asdict(self)

    @classmethod
    def of(cls, document: dict[str, Any]) -> "Load":
        """Return the load of a document."""
        return cls(**{**document, "wire": Wire(document["wire"]), "users": Users(document["users"])})
