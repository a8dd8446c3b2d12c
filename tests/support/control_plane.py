"""A whole control plane on the test's loop, over a real store, in a workspace of its own."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import aiohttp
import orjson

from controlplane.service import running_control_plane
from controlplane.settings import Settings

READ_TOKEN = "read-token-of-a-test"
WRITE_TOKEN = "write-token-of-a-test"
PUSH_TOKEN = "push-token-of-a-test"
EVENTS_TOKEN = "events-token-of-a-test"
TOKENS = {
    "read_token": READ_TOKEN,
    "write_token": WRITE_TOKEN,
    "push_token": PUSH_TOKEN,
    "events_token": EVENTS_TOKEN,
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """The decoded JSON."""
        return orjson.loads(self.body)

    @property
    def code(self) -> str | None:
        """The code of a problem, None for another answer."""
        is_problem = self.headers.get("Content-Type") == "application/problem+json"
        return self.document["code"] if is_problem else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlane:
    """A running control plane; `workspace` is its own."""

    session: aiohttp.ClientSession
    url: str
    admin_url: str
    workspace: str

    async def call(self, method: str, path: str, body: object = None, **options: Any) -> Answer:
        """Call the API or a page; a body that is not bytes is sent as JSON. No redirect is followed."""
        data = body if body is None or isinstance(body, bytes) else orjson.dumps(body)
        if token := options.pop("token", None):
            options["headers"] = {"Authorization": f"Bearer {token}", **options.get("headers", {})}
        url = f"{self.url}{path}"
        async with self.session.request(method, url, data=data, allow_redirects=False, **options) as response:
            return Answer(response.status, response.headers, await response.read())

    async def admin(self, path: str) -> Answer:
        """GET from the admin listener."""
        async with self.session.get(f"{self.admin_url}{path}") as response:
            return Answer(response.status, response.headers, await response.read())


def control_settings(store_url: str, **settings: object) -> Settings:
    """Return settings with free ports; `settings` become SPENDGATE_... variables."""
    environment = {
        "SPENDGATE_REDIS_URL": store_url,
        "SPENDGATE_CONTROL_PORT": "auto",
        "SPENDGATE_CONTROL_ADMIN_PORT": "auto",
        **{f"SPENDGATE_{name.upper()}": str(value) for name, value in settings.items()},
    }
    return Settings.read(environment, {})


@contextlib.asynccontextmanager
async def control_plane(store_url: str, **settings: object) -> AsyncIterator[ControlPlane]:
    """Serve on free loopback ports; `settings` become SPENDGATE_... variables."""
    workspace = str(settings.pop("workspace", f"control-{uuid4().hex[:12]}"))
    configured = control_settings(store_url, workspace=workspace, **settings)
    failures: list[bool] = []
    async with (
        running_control_plane(configured, on_failure=lambda: failures.append(True)) as listeners,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
    ):
        yield ControlPlane(session=session, url=listeners.page_url, admin_url=listeners.admin_url, workspace=workspace)
    assert [] == failures, "a background task failed"
