"""Has the published SDK of LLM Cost Tracker tell its calls to a sidecar and to a control plane, and looks what arrived.

``make npm-sdk`` runs it: its events must be priced, charged and shown, and the audit must find no difference.
"""

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import orjson

from ledger.audit import audit_store
from tests.conftest import running_server, valkey_binary
from tests.e2e.stage import Stage, running_stage, until

HERE: Final = Path(__file__).parent
PRICES: Final = HERE.parents[1] / "config" / "prices.json"
API_KEY: Final = "the-key-of-the-npm-check"
CALLS: Final = 8
UNPRICED: Final = {"in-house-7b", "gpt-4o"}
"""A model that nobody knows, and one whose provider told no tokens."""
SHOWN: Final = {
    "group": {"search": 2, "chat": 4, "(none)": 2},
    "model": {"gpt-4o": 4, "in-house-7b": 1, "claude-haiku-4-5": 2, "gemini-2.5-flash": 1},
    "tier": {"free": 2, "pro": 4, "(none)": 2},
}
"""Calls by name, of one run of ``calls.mjs``."""


async def run_calls(endpoint: str) -> dict[str, float]:
    """Run the SDK's calls with an endpoint; returns what its own prices make of two of them."""
    process = await asyncio.create_subprocess_exec(
        "node", "calls.mjs", endpoint, API_KEY, cwd=HERE, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, f"node ended with {process.returncode}"
    costs: dict[str, float] = json.loads(output)
    return costs


async def rows(stage: Stage, by: str) -> dict[str, dict[str, Any]]:
    """Return the rows that the page shows, by name."""
    return {row["name"]: row for row in (await stage.get(f"breakdown?by={by}"))["items"]}


async def look(stage: Stage, times: int, costs: dict[str, float]) -> None:
    """Compare what arrived after so many runs with what was called. The SDK does not wait for its events: we do."""

    async def all_arrived() -> bool:
        return bool((await stage.get("breakdown"))["sum"]["calls"] == times * CALLS)

    await until(all_arrived, f"{times * CALLS} calls are counted")
    for by, expected in SHOWN.items():
        found = {name: row["calls"] for name, row in (await rows(stage, by)).items()}
        assert found == {name: times * calls for name, calls in expected.items()}, (by, found)
    unpriced = {name for name, row in (await rows(stage, "model")).items() if row["unpriced_calls"]}
    assert unpriced == UNPRICED, unpriced
    spend = (await stage.get("usage?user_id=user-1&tier=free"))["windows"][0]["spend_usd"]
    assert abs(spend - times * costs["gpt-4o"]) < 1e-9, (spend, costs)
    streamed = (await stage.get("usage?user_id=user-3&tier=pro"))["windows"][0]["spend_usd"]
    assert abs(streamed - times * costs["stream"]) < 1e-9, (streamed, costs)
    report = await audit_store(stage.store_url, stage.workspace)
    assert report.differences == [], report.lines


async def check(store_url: str, directory: Path) -> None:
    """Tell the calls to both planes, each of which wants the key."""
    async with running_stage(store_url, directory, app={"decision_token": API_KEY}, write_token=API_KEY) as stage:
        stage.session.headers["Authorization"] = f"Bearer {API_KEY}"
        await stage.put_price_book(orjson.loads(PRICES.read_bytes()))
        for times, url in enumerate((stage.sidecar_url, stage.url), start=1):
            costs = await run_calls(f"{url}/api/events")
            await look(stage, times, costs)


def main() -> None:
    """Check and say so."""
    with running_server(valkey_binary()) as url, tempfile.TemporaryDirectory(prefix="sg-npm-") as directory:
        asyncio.run(check(url, Path(directory)))
    sys.stdout.write(f"@llmcosttracker/sdk: {CALLS} calls each told to the sidecar and to the control plane, ")
    sys.stdout.write("priced, charged, shown; the audit finds no difference\n")


if __name__ == "__main__":
    main()
