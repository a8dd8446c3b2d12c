"""What the store itself can do: redis-benchmark with the sidecar's own program, and a bare round trip from Python."""

import asyncio
import shutil
import subprocess
import time
from collections.abc import Sequence
from typing import Any, Final

import redis

from bench.baselines import bench_plan
from bench.http_check import pin
from bench.suite.latency import Latencies
from bench.suite.rounds import Result
from cli.embedded import EmbeddedStore
from ledger.decisions import Operation
from ledger.operations import Admission, sent_text
from ledger.redis_ledger import RedisLedger, load_programs
from sidecar.settings import SETTINGS

PROGRAM: Final = "redis-benchmark"
RANDOM: Final = "__rand_int__"
"""redis-benchmark puts 12 random digits in its place, with every command anew."""
RANDOM_RANGE: Final = 2_000_000_000
PIPELINED: Final = 4
USERS: Final = 1000
WORKSPACE: Final = "ceiling"
MAX_BATCH: Final = int(next(setting.default or "" for setting in SETTINGS if setting.name == "max_batch"))
"""Of a sidecar as it is delivered."""


class _Captured(Exception):
    """Ends a call of the ledger once its command is known."""


class _Capture:
    """Takes the place of a connection and keeps the command."""

    words: Sequence[Any] = ()

    async def execute_command(self, *words: Any, **_options: Any) -> Any:
        """Keep the words."""
        self.words = words
        raise _Captured


def check_command(request_ids: Sequence[str]) -> list[str]:
    """Return the command by which a sidecar decides a check of $0.000125 for each of these ids, in one batch."""
    plan, capture = bench_plan(), _Capture()
    checks = [
        Admission(
            operation=Operation.CHECK,
            plan=plan,
            request_id=request_id,
            user_id=f"user-{number * 7919 % USERS:06d}",
            amount_nanos=125_000,
            sent=sent_text(Operation.CHECK, "pro", "125000", 0),
            not_after_ms=plan.valid_until_ms,
            attempt="0",
        )
        for number, request_id in enumerate(request_ids)
    ]
    try:
        asyncio.run(RedisLedger(capture, workspace=WORKSPACE).admit(checks))
    except _Captured:
        return [str(word) for word in capture.words]
    raise AssertionError("the ledger asked nothing")


def load_program(client: "redis.Redis") -> None:
    """Load the program of checks as a server function, as a sidecar does."""
    client.execute_command("FUNCTION", "LOAD", "REPLACE", load_programs()["admit"].library)


def benchmark(store: EmbeddedStore, batch: int, checks: int) -> Result:
    """Return checks a second of redis-benchmark on the sidecar's core: batches of this size, several under way.

    Raises `RuntimeError` if the store has not decided them all.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        raise RuntimeError(f"{PROGRAM} is needed: apt-get install redis-tools")
    commands = max(1, checks // batch)
    options = ["-s", str(store.socket), "-c", "1", "-P", str(PIPELINED), "-n", str(commands), "-r", str(RANDOM_RANGE)]
    words = check_command([f"{RANDOM}-{time.time_ns():x}-{number}" for number in range(batch)])
    with redis.Redis.from_url(store.url) as client:
        load_program(client)
        before = client.dbsize()
        output = subprocess.run(
            [program, *options, "--csv", *words],
            check=True,
            capture_output=True,
            text=True,
            preexec_fn=lambda: pin(0),
        ).stdout
        decided = client.dbsize() - before
    if decided < commands * batch * 0.999:  # Two ids of a few hundred thousand may be the same.
        raise RuntimeError(f"{PROGRAM} left {decided} records after {commands * batch} checks")
    return {"per_second": commands_a_second(output) * batch, "operations": commands * batch}


def commands_a_second(output: str) -> float:
    """Return the rate of redis-benchmark's CSV: a line of names, then one that begins with the command, unescaped."""
    names, line = output.rstrip("\n").split("\n")
    fields = names.count(",")
    return float(dict(zip(names.split(",")[1:], line.rsplit(",", fields)[1:], strict=True))['"rps"'].strip('"'))


def bare_round_trips(store: EmbeddedStore, count: int) -> Result:
    """Return the latency of one check a round trip by redis-py, as blocking calls from this process."""
    place, tag = "PLACE", f"{time.time_ns():x}"
    template = check_command([f"{tag}-{place}"])
    latencies = []
    with redis.Redis.from_url(store.url) as client:
        load_program(client)
        for number in range(count):
            words = [word.replace(place, f"{number:012d}") for word in template]
            started = time.perf_counter()
            reply = client.execute_command(*words)
            latencies.append(time.perf_counter() - started)
            if type(reply[0]) is not bytes:
                raise RuntimeError(f"the store answered {reply}")
    counted = Latencies()
    counted.add(latencies)
    return {"operations": count, "per_second": count / sum(latencies), **counted.summary()}
