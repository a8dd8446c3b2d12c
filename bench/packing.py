"""What packing a batch of checks into RESP costs: redis-py's asyncio connection against hiredis.

``python -m bench.packing``; microseconds, the best of several repeats.
"""

import timeit

import hiredis
from redis.asyncio.connection import Connection

from bench.baselines import bench_plan
from ledger.decisions import Operation
from ledger.keys import PartitionKeys
from ledger.operations import Admission, sent_text
from ledger.script_arguments import Batch, PlanShelf

CHECKS = 16
NUMBER = 1_000
REPEATS = 7


def command() -> tuple[str | int, ...]:
    """Return the EVALSHA of a batch of checks, as words."""
    keys, plan = PartitionKeys.of("default", 0), bench_plan()
    batch = Batch(keys, PlanShelf(keys))
    for number in range(CHECKS):
        batch.add_admission(
            Admission(
                operation=Operation.CHECK,
                plan=plan,
                request_id=f"0123456789abcdef-{number}",
                user_id=f"user-{number}",
                amount_nanos=125_000,
                sent=sent_text(Operation.CHECK, "pro", "125000", 0),
                not_after_ms=plan.valid_until_ms,
            )
        )
    words = batch.keys(keys.events, keys.due, keys.tiers)
    return ("EVALSHA", "0" * 40, len(words), *words, *batch.arguments(keys.prefix, 1_000_000))


def main() -> None:
    """Measure and print."""
    words, connection = command(), Connection()
    for name, pack in (
        ("redis-py", lambda: connection.pack_command(*words)),
        ("hiredis", lambda: hiredis.pack_command(words)),
    ):
        best = min(timeit.repeat(pack, number=NUMBER, repeat=REPEATS)) / NUMBER
        print(f"{name}: {best * 1e6:.1f} us for a batch of {CHECKS} checks")


if __name__ == "__main__":
    main()
