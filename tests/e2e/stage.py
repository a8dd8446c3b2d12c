"""A control plane and a sidecar over one store, on the loop of the test: what an operator's browser and an app meet."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import aiohttp

from controlplane.service import running_control_plane
from controlplane.settings import Settings as ControlSettings
from sidecar.service import running_sidecar
from sidecar.settings import Settings as SidecarSettings
from tests.support.patience import PATIENT
from tests.support.ports import free_ports

DEADLINE_S: Final = 60.0
POLL_S: Final = 0.02


@dataclass(slots=True)
class Stage:
    """One workspace with its page and its sidecar; `url` is the page's, also after it was stopped and started."""

    store_url: str
    directory: Path
    session: aiohttp.ClientSession
    control: dict[str, str]
    app: dict[str, str] = field(default_factory=dict)
    workspace: str = field(default_factory=lambda: f"page-{uuid4().hex[:12]}")
    url: str = ""
    sidecar_url: str = ""
    _page: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    async def start_page(self) -> None:
        """Serve the page, again on the port it had: one that no connection is given while nobody listens on it."""
        port = self.url.rpartition(":")[2] or str(free_ports(1)[0])
        environment = self._environment(control_port=port, control_admin_port="auto", **self.control)
        settings = ControlSettings.read(environment, {})
        listeners = await self._page.enter_async_context(running_control_plane(settings, on_failure=_fail))
        self.url = listeners.page_url

    async def stop_page(self) -> None:
        """End the control plane; sidecar and store go on."""
        await self._page.aclose()

    @contextlib.asynccontextmanager
    async def sidecar(self) -> AsyncIterator[None]:
        """Run a sidecar that follows the store."""
        listen = {"port": "auto", "admin_port": "auto", "data_dir": self.directory}
        settings = SidecarSettings.read(self._environment(**listen, **PATIENT, **self.app), {})
        async with running_sidecar(settings, on_failure=_fail) as listeners:
            self.sidecar_url = listeners.decision_url
            yield

    def _environment(self, **settings: object) -> dict[str, str]:
        shared = {"redis_url": self.store_url, "workspace": self.workspace}
        return {f"SPENDGATE_{name.upper()}": str(value) for name, value in (shared | settings).items()}

    async def decide(self, operation: str, user_id: str, **fields: Any) -> dict[str, Any]:
        """Ask the sidecar as an app does."""
        return await self._post(f"{self.sidecar_url}/v1/{operation}", {"user_id": user_id, **fields})

    async def check(self, user_id: str, usd: float | str, tier: str | None = None) -> str:
        """Check an amount; return the decision."""
        answer = await self.decide("check", user_id, cost_usd=usd, **({} if tier is None else {"tier": tier}))
        return str(answer["decision"])

    async def create(self, collection: str, key: str, **fields: Any) -> dict[str, Any]:
        """Make a rule as a program does, and wait until the sidecar has it."""
        row = await self._post(f"{self.url}/api/v1/{collection}", {"key": key, **fields})
        await self.converged()
        return row

    async def put_settings(self, **changes: str) -> None:
        """Change settings of the workspace."""
        async with self.session.get(f"{self.url}/api/v1/settings") as response:
            now, etag = await response.json(), response.headers["ETag"]
        kept = {name: now[name] for name in ("timezone", "week_start", "plan", "on_expiry", "mode")}
        async with self.session.put(
            f"{self.url}/api/v1/settings", json={**kept, **changes}, headers={"If-Match": etag}
        ) as response:
            assert response.status == 200, await response.text()

    async def put_prices(self, **models: float) -> None:
        """Put prices in force: for each model the USD of a million tokens of input, five times as much of output."""
        prices = [
            {"model": model, "input_usd_per_million": usd, "output_usd_per_million": 5 * usd}
            for model, usd in models.items()
        ]
        await self.put_price_book(prices)

    async def put_price_book(self, document: object) -> None:
        """Put a price book in force, and wait until the sidecar has it."""
        async with self.session.put(f"{self.url}/api/v1/prices", json=document) as response:
            assert response.status == 200, await response.text()
        await self.converged()

    async def use(self, user_id: str, model: str, **fields: Any) -> dict[str, Any]:
        """Check a usage of a million tokens of input."""
        usage = {"model": model, "input_tokens": 1_000_000, "output_tokens": 0}
        return await self.decide("check", user_id, usage=usage, **fields)

    async def get(self, path: str) -> dict[str, Any]:
        """GET from the API."""
        async with self.session.get(f"{self.url}/api/v1/{path}") as response:
            assert response.status == 200, await response.text()
            document: dict[str, Any] = await response.json()
            return document

    async def converged(self) -> None:
        """Wait until the sidecar decides by the newest rules."""
        revision = (await self.get("settings"))["rules_revision"]

        async def is_converged() -> bool:
            async with self.session.get(f"{self.sidecar_url}/v1/explain", params={"user_id": "anybody"}) as response:
                return bool((await response.json())["rules_revision"] == revision)

        await until(is_converged, f"the sidecar has revision {revision}")

    async def _post(self, url: str, body: dict[str, Any]) -> dict[str, Any]:
        async with self.session.post(url, json=body) as response:
            assert response.status < 300, await response.text()
            document: dict[str, Any] = await response.json()
            return document


async def until(holds: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait until something holds; fails after a deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not await holds():
        assert time.monotonic() < deadline, f"in vain: {what}"
        await asyncio.sleep(POLL_S)


@contextlib.asynccontextmanager
async def running_stage(
    store_url: str, directory: Path, *, app: dict[str, str] | None = None, **control: str
) -> AsyncIterator[Stage]:
    """Run page and sidecar in a workspace of their own.

    `control` become settings of the control plane, `app` of the sidecar.
    """
    async with aiohttp.ClientSession() as session:
        stage = Stage(store_url, directory, session, control, app or {})
        await stage.start_page()
        try:
            async with stage.sidecar():
                yield stage
        finally:
            await stage.stop_page()


def _fail() -> None:
    raise AssertionError("a background task failed")
