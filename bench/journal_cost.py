"""What the journal costs a check: on the event loop, in its thread, and on disk. ``python -m bench.journal_cost``."""

import asyncio
import tempfile
import time
from pathlib import Path

from ledger.decisions import Operation
from ledger.memory_ledger import MemoryLedger
from ledger.operations import Admission, sent_text
from ledger.places import Place
from ledger.plans import compile_plan
from ledger.rule_parsing import parse_rule_set
from sidecar.done_operations import done_admissions
from sidecar.journal import Journal, journal_limits
from sidecar.journal_entries import Writer

CHECKS = 50_000
BATCH = 8
NOW_MS = 1_769_860_800_000
RULES = {"rules": [{"kind": "tier_template", "key": "free", "limit_usd": 1000, "action": "block"}]}


def admissions(count: int) -> list[Admission]:
    """Return checks of a thousand users of one tier."""
    plan = compile_plan(parse_rule_set(RULES, revision=1), "user", "free", NOW_MS)
    sent = sent_text(Operation.CHECK, "free", "1000", 0)
    return [
        Admission(
            operation=Operation.CHECK,
            plan=plan,
            request_id=f"{number:032x}",
            user_id=f"user-{number % 1000}",
            amount_nanos=1000,
            sent=sent,
            not_after_ms=NOW_MS,
            attempt=f"{number:x}",
        )
        for number in range(count)
    ]


async def main() -> None:
    """Measure and print."""
    calls = admissions(CHECKS)
    answers = await MemoryLedger(clock=lambda: NOW_MS).admit(calls)
    batches = [(calls[at : at + BATCH], answers[at : at + BATCH]) for at in range(0, CHECKS, BATCH)]
    with tempfile.TemporaryDirectory() as name:
        journal = Journal(Path(name), limits=journal_limits(1 << 30), now_ms=lambda: NOW_MS, landing_ms=250)
        await journal.log.start(1)
        journal.know(0, "lineage")
        started = time.perf_counter()
        for number, (asked, answered) in enumerate(batches):
            journal.note_admissions(0, Place("lineage", number + 1), asked, answered)
        on_loop = time.perf_counter() - started
        started = time.perf_counter()
        await journal.log.flush()
        flushed = time.perf_counter() - started
        size = journal.log.size
        await journal.log.close()
    writer = Writer()
    started = time.process_time()
    for number, (asked, answered) in enumerate(batches):
        writer.batch(0, Place("lineage", number + 1), done_admissions(asked, answered, journal.replan))
    encoded = time.process_time() - started
    loop_us, thread_us = on_loop / CHECKS * 1e6, encoded / CHECKS * 1e6
    print(f"on the event loop {loop_us:.2f} us a check, in the thread {thread_us:.2f} us")
    print(f"all written and synced {flushed / CHECKS * 1e6:.2f} us a check, {size / CHECKS:.0f} bytes a check")


if __name__ == "__main__":
    asyncio.run(main())
