"""What the control plane's metrics tell of tiers and sidecars, over a real store."""

import asyncio
import re

import pytest

from tests.support.control_plane import ControlPlane, control_plane

DEADLINE_S = 60.0
TEMPLATE = {"key": "gold", "limit_usd": 5, "window": "month", "action": "block"}


async def _metrics_with(plane: ControlPlane, pattern: str, *, expected: bool = True) -> str:
    """Return the metrics once a line of theirs matches, or matches no longer."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            text = (await plane.admin("/metrics")).body.decode()
            if bool(re.search(pattern, text, re.MULTILINE)) is expected:
                return text
            await asyncio.sleep(0.05)


async def test_tiers_with_a_template_are_shown(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the workspace's day, week and month, and no longer once their template is gone; sidecars by how they stand."""
    monkeypatch.setattr("controlplane.observation.OBSERVE_INTERVAL_S", 0.05)
    async with control_plane(valkey_url) as plane:
        made = await plane.call("POST", "/api/v1/templates", TEMPLATE)
        assert 201 == made.status, made.body
        text = await _metrics_with(plane, r'^spendgate_control_tier_spend_usd\{tier="gold"')
        assert {"day", "week", "month"} == set(re.findall(r'tier_calls\{tier="gold",window="(\w+)"\} 0\.0', text))
        assert 4 == len(re.findall(r"^spendgate_control_sidecars\{", text, re.MULTILINE))
        gone = await plane.call(
            "DELETE", f"/api/v1/templates/{made.document['id']}", headers={"If-Match": made.headers["ETag"]}
        )
        assert gone.status in {200, 204}, gone.body
        await _metrics_with(plane, r'tier="gold"', expected=False)
