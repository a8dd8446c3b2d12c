"""Reads many keys in few round trips, with Redis' errors as the ledger's."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from redis.exceptions import AskError, ClusterDownError, ReadOnlyError, RedisError, ResponseError, TryAgainError

from ledger.errors import StoreUnavailable

if TYPE_CHECKING:
    import redis.asyncio as redis

ROUND_TRIP_COMMANDS: Final = 500
"""Sent at once: enough to make the round trip cheap, few enough to leave the server to others in between."""

_NOT_NOW: Final = (AskError, ClusterDownError, ReadOnlyError, TryAgainError)
_NOT_NOW_CODES: Final = ("NOREPLICAS", "MISCONF", "UNBLOCKED")

Subject = TypeVar("Subject")


@contextlib.contextmanager
def store_errors(doing: str) -> Iterator[None]:
    """Turn Redis' errors into `StoreUnavailable`; `doing` completes "the store did not answer while"."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise StoreUnavailable(f"the store did not answer while {doing}: {error}") from error


async def read_each(
    client: "redis.Redis",
    command: Callable[[Any, Subject], object],
    subjects: Sequence[Subject],
    *,
    raise_errors: bool = True,
) -> list[Any]:
    """Return the replies to one command for each subject, in their order; `command` adds it to a pipeline.

    Without `raise_errors` an error of the server stands in the place of its reply.
    """
    replies: list[Any] = []
    for start in range(0, len(subjects), ROUND_TRIP_COMMANDS):
        pipeline = client.pipeline(transaction=False)
        for subject in subjects[start : start + ROUND_TRIP_COMMANDS]:
            command(pipeline, subject)
        replies += await pipeline.execute(raise_on_error=raise_errors)
    return replies


def is_out_of_service(error: ResponseError) -> bool:
    """Say whether a server refuses whatever it is sent: it lost its slots, its role, its replicas or its disk."""
    return isinstance(error, _NOT_NOW) or str(error).startswith(_NOT_NOW_CODES)
