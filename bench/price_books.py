"""What a price book of all known models costs: ``python -m bench.price_books``.

Its size, its look-ups (the aim: below 3 us), and how long putting it in force stalls a control plane (20 ms at most);
`bench.rule_delivery` measures the sidecar that follows. A timing proves nothing on a busy machine, so this is a
benchmark and no test.
"""

import gzip
import statistics
import tempfile
import time
import timeit
from pathlib import Path
from typing import Any

import uvloop

from bench.rule_stall import Heartbeat
from cli.embedded import EmbeddedStore
from controlplane.registry import Registry
from ledger.bulk_work import leave_start_alone
from ledger.connection import StoreTimeouts, connect
from ledger.documents import decode_json
from ledger.price_parsing import parse_price_book
from ledger.prices import PriceBook
from ledger.rule_store import RuleStore
from ledger.usage import Usage

BOOK = Path("config/prices.json")
TIMEOUTS = StoreTimeouts(connect_ms=1000, command_ms=30_000)
ROUNDS = 5
LOOK_UPS = 100_000
STRANGERS = 1_000
USAGES = (
    Usage(model="gpt-4o", provider="openai", input_tokens=1200, output_tokens=350),
    Usage(model="claude-sonnet-4-5-20250929", input_tokens=1200, output_tokens=350, cache_read_tokens=9000),
    Usage(model="gemini/gemini-2.5-pro", input_tokens=250_000, output_tokens=350, reasoning_tokens=100),
    Usage(model="deepseek-chat", input_tokens=1200, output_tokens=350),
)


def look_ups(book: PriceBook) -> None:
    """Print how long a look-up takes, of a name that was seen before and of one that was not."""
    now_ms = int(time.time() * 1000)
    for usage in USAGES:
        seconds = min(timeit.repeat(lambda usage=usage: book.price(usage, now_ms), number=LOOK_UPS, repeat=5))
        print(f"look-up of {usage.model}: {seconds / LOOK_UPS * 1e6:.2f} us")
    for provider in (None, "openrouter", "openai"):
        started = time.perf_counter()
        for number in range(STRANGERS):
            book.find(provider, f"stranger-{number}-2031-01-31")
        each_us = (time.perf_counter() - started) / STRANGERS * 1e6
        print(f"a name never seen before, provider {provider}: {each_us:.0f} us")


async def stalls(url: str, document: dict[str, Any]) -> None:
    """Print how long putting a book in force stalls the loop of a control plane."""
    client = connect(url, TIMEOUTS)
    leave_start_alone()  # As a control plane does.
    registry = Registry(RuleStore(client, workspace="bench"))
    stalls_ms, seconds = [], []
    for number in range(ROUNDS):
        book = {**document, "version": f"round {number}"}
        heartbeat, started = Heartbeat(), time.perf_counter()
        await registry.put_prices(book, expected_revision=None, actor="bench")
        heartbeat.stop()
        stalls_ms.append(heartbeat.longest_s * 1000)
        seconds.append(time.perf_counter() - started)
    await client.aclose()
    print(
        f"put in force in {statistics.median(seconds) * 1000:.0f} ms, longest stall of the control plane, ms: ", end=""
    )
    print(f"median {statistics.median(stalls_ms):.1f}, max {max(stalls_ms):.1f}")


def main() -> None:
    """Measure and print."""
    body = BOOK.read_bytes()
    document: Any = decode_json(body)
    started = time.perf_counter()
    book = parse_price_book(document)
    parsed_ms = (time.perf_counter() - started) * 1000
    print(
        f"{book.count} prices: {len(body)} bytes, {len(gzip.compress(body))} compressed; parsed in {parsed_ms:.0f} ms"
    )
    look_ups(book)
    with tempfile.TemporaryDirectory(prefix="sg-bench-") as name, EmbeddedStore.start(Path(name)) as store:
        uvloop.run(stalls(store.url, document))


if __name__ == "__main__":
    main()
