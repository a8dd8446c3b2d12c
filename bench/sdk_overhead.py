"""What a guarded call costs more than a bare one; ``python -m bench.sdk_overhead``. The provider answers at once.

One call at a time. Store, sidecar, provider and app are processes of their own. A guarded call asks the sidecar twice,
to hold and to settle. Needs ``make providers``. Writes ``bench/results/sdk_overhead.json``.
"""

import argparse
import contextlib
import importlib.metadata
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from aiohttp import web

from bench.http_check import RESULTS, ROOT, free_port, machine, server
from cli.embedded import EmbeddedStore

PYTHON = ROOT / ".venv" / "providers" / "bin" / "python"
BASELINES = {
    "openai, wrapped": "openai, bare",
    "openai, wrapped, Unix socket": "openai, bare",
    "openai, asyncio, wrapped": "openai, asyncio, bare",
}
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-mini",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Because."}}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
}
RULE = {"kind": "tier_template", "key": "bench", "limit_usd": 1_000_000, "window": "month", "action": "block"}
PRICE = {"model": "gpt-4o-mini", "input_usd_per_million": 0.15, "output_usd_per_million": 0.6}


def provide(port: int) -> None:
    """Answer every chat completion at once; runs in a process of its own."""

    async def complete(request: web.Request) -> web.Response:
        await request.read()
        return web.json_response(ANSWER)

    app = web.Application()
    app.router.add_post("/v1/chat/completions", complete)
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None)


def run(rounds: int) -> dict[str, dict[str, float]]:
    """Return the figures of every kind of call."""
    with tempfile.TemporaryDirectory(prefix="sg-bench-") as name, contextlib.ExitStack() as stack:
        directory = Path(name)
        store = EmbeddedStore.start(directory / "store")
        stack.callback(store.stop)
        rules = directory / "rules.json"
        rules.write_text(json.dumps({"rules": [RULE], "prices": [PRICE]}))
        port, provider_port = free_port(), free_port()
        environment = {
            "SPENDGATE_REDIS_URL": store.url,
            "SPENDGATE_RULES": str(rules),
            "SPENDGATE_DATA_DIR": str(directory / "sidecar"),
            "SPENDGATE_PORT": str(port),
            "SPENDGATE_UNIX_SOCKET": str(directory / "s"),
            "SPENDGATE_ADMIN_PORT": "auto",
            "SPENDGATE_DEADLINE_MS": "10000",  # nothing is measured that a failure policy decided
            "SPENDGATE_COMMAND_TIMEOUT_MS": "10000",
        }
        stack.enter_context(server(["-m", "cli.main", "sidecar"], port, environment))
        provider = ["-c", f"from bench.sdk_overhead import provide; provide({provider_port})"]
        stack.enter_context(server(provider, provider_port, {}))
        urls = [f"http://127.0.0.1:{port}", f"unix://{directory / 's'}", f"http://127.0.0.1:{provider_port}/v1"]
        output = subprocess.check_output([PYTHON, "-m", "bench.sdk_calls", *urls, str(rounds)], cwd=ROOT)
    figures: dict[str, dict[str, float]] = json.loads(output)
    return figures


def show(figures: dict[str, dict[str, float]]) -> None:
    """Print the table; what is wrapped shows what it costs more than the bare call."""
    print(f"{'call':<32}{'p50 us':>10}{'p99 us':>10}{'more, p50':>12}")
    for name, figure in figures.items():
        bare = figures.get(BASELINES.get(name, ""))
        more = f"{figure['p50_us'] - bare['p50_us']:>12.0f}" if bare else ""
        print(f"{name:<32}{figure['p50_us']:>10.0f}{figure['p99_us']:>10.0f}{more}")


def described() -> dict[str, Any]:
    """Return the machine, with the versions that matter here."""
    packages = {
        name: importlib.metadata.version(name) for name in ("httpcore2", "h11", "anyio", "websockets", "msgpack")
    }
    return machine() | {"sdk_packages": packages}


def main() -> None:
    """Measure, print, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2000)
    options = parser.parse_args()
    if not PYTHON.exists():
        sys.exit("run `make providers` first")
    figures = run(options.rounds)
    show(figures)
    path = RESULTS / "sdk_overhead.json"
    path.write_text(json.dumps({"machine": described(), "method": vars(options), "figures": figures}, indent=2) + "\n")
    print(f"written to {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
