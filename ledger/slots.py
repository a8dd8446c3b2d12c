"""Hash slots of a Cluster: which one a command touches, and which server has it."""

from collections.abc import Sequence
from typing import Any, Final

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot

from ledger.store_url import Address

SLOTS: Final = REDIS_CLUSTER_HASH_SLOTS

KEYLESS: Final = frozenset(
    {"TIME", "PING", "ECHO", "INFO", "CONFIG", "FUNCTION", "SCRIPT", "CLUSTER", "SCAN", "WAIT", "ROLE", "DBSIZE"}
    | {"CLIENT", "ACL", "LATENCY", "MEMORY", "COMMAND"}
)
PROGRAMS: Final = frozenset({"FCALL", "FCALL_RO", "EVAL", "EVALSHA", "EVAL_RO", "EVALSHA_RO"})
BEFORE_STREAMS: Final = frozenset({"XREAD", "XREADGROUP"})

SlotOwners = dict[int, Address]


def slot_of(words: Sequence[Any]) -> int | None:
    """Return the slot of a command's first key, None for a command without keys. All keys of ours share a slot."""
    name = str(words[0]).upper()
    first = name.partition(" ")[0]
    if first in KEYLESS:
        return None
    if first in PROGRAMS:
        return _slot(words[3]) if int(words[2]) else None
    if first in BEFORE_STREAMS:
        return _slot(words[[_upper(word) for word in words].index("STREAMS") + 1])
    has_container = first in {"XINFO", "OBJECT"} and " " not in name
    return _slot(words[2 if has_container else 1])


def _upper(word: Any) -> str:
    return (word.decode(errors="replace") if isinstance(word, bytes) else str(word)).upper()


def _slot(key: Any) -> int:
    return key_slot(key if isinstance(key, bytes) else str(key).encode())


def read_owners(reply: Sequence[Any], asked: Address) -> SlotOwners:
    """Return the primary of each slot from CLUSTER SLOTS; a server that does not know its own host is `asked`."""
    owners: SlotOwners = {}
    for start, end, primary, *_replicas in reply:
        host = (primary[0] or b"").decode()
        address = (host if host not in {"", "?"} else asked[0], int(primary[1]))
        owners.update(dict.fromkeys(range(int(start), int(end) + 1), address))
    return owners
