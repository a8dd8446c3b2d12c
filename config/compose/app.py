"""A sample app: it asks its sidecar before each imitated LLM call, and settles what the call cost.

It needs the standard library only: the protocol is two small POSTs.
"""

import json
import os
import random
import sys
import time
import urllib.error
import urllib.request
import uuid

URL = os.environ.get("SPENDGATE_URL", "http://127.0.0.1:8787")
TIMEOUT_S = 2.0
PAUSE_S = 0.5
USERS = (("user-1", "free"), ("user-2", "free"), ("user-7", "pro"), ("user-42", "pro"))


def post(path: str, body: dict[str, object]) -> dict[str, object]:
    """Send one operation; a decision is always a 200."""
    request = urllib.request.Request(f"{URL}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
        return json.load(response)


def call_model(user_id: str, tier: str) -> str:
    """Reserve an estimate, imitate the call, settle the actual cost; returns one line about it."""
    call = {"request_id": str(uuid.uuid4()), "user_id": user_id, "tier": tier}
    decision = post("/v1/reserve", {**call, "estimate_usd": 0.25})
    if not decision["allowed"]:
        return f"{user_id}: blocked ({decision['reason']}), no call was made"
    cost_usd = round(random.uniform(0.01, 0.2), 4)  # A real app knows the usage once the provider has answered.
    settled = post("/v1/settle", {**call, "cost_usd": cost_usd})
    return f"{user_id}: {decision['decision']}, paid ${cost_usd}, {settled.get('remaining_usd')} USD remain"


def main(calls: int | None) -> None:
    """Make calls until stopped, or as many as are asked for."""
    made = 0
    while calls is None or made < calls:
        try:
            print(call_model(*random.choice(USERS)), flush=True)
        except (OSError, urllib.error.HTTPError) as error:
            print(f"no decision: {error}", flush=True)
        made += 1
        time.sleep(0 if calls else PAUSE_S)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else None)
