"""Who may call a control plane: tokens and scopes, sessions, forgery, names, failed log-ins, headers."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from controlplane.auth import MAX_FAILURES
from tests.support.control_plane import (
    EVENTS_TOKEN,
    PUSH_TOKEN,
    READ_TOKEN,
    TOKENS,
    WRITE_TOKEN,
    ControlPlane,
    control_plane,
)

WRONG = "wrong-token-of-a-test"
NOWHERE = "/api/v1/nowhere"
SAME_ORIGIN = {"Sec-Fetch-Site": "same-origin"}


@pytest_asyncio.fixture(loop_scope="function")
async def guarded(valkey_url: str) -> AsyncIterator[ControlPlane]:
    """A control plane with a token for each scope."""
    async with control_plane(valkey_url, **TOKENS) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="function")
async def unguarded(valkey_url: str) -> AsyncIterator[ControlPlane]:
    """A control plane for this machine, without tokens."""
    async with control_plane(valkey_url) as running:
        yield running


async def _log_in(control: ControlPlane, token: str = WRITE_TOKEN) -> dict[str, str]:
    answer = await control.call("POST", "/api/v1/session", {"token": token})
    assert 201 == answer.status
    return {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}


@pytest.mark.parametrize(
    ("expected", "method", "path", "token"),
    [
        (401, "GET", NOWHERE, None),
        (401, "GET", NOWHERE, WRONG),
        (404, "GET", NOWHERE, READ_TOKEN),
        (404, "GET", NOWHERE, WRITE_TOKEN),
        (403, "GET", NOWHERE, PUSH_TOKEN),
        (401, "POST", NOWHERE, None),
        (403, "POST", NOWHERE, READ_TOKEN),
        (403, "DELETE", NOWHERE, READ_TOKEN),
        (403, "PUT", NOWHERE, PUSH_TOKEN),
        (403, "GET", NOWHERE, EVENTS_TOKEN),
        (403, "POST", NOWHERE, EVENTS_TOKEN),
        (403, "POST", "/api/v1/rules/import", EVENTS_TOKEN),
        (404, "POST", NOWHERE, WRITE_TOKEN),
        (403, "POST", "/api/v1/rules/import", READ_TOKEN),
    ],
)
async def test_a_token_opens_what_its_scope_covers(
    guarded: ControlPlane, expected: int, method: str, path: str, token: str | None
) -> None:
    """What is open is looked for and not found; what is closed is not even looked for."""
    assert expected == (await guarded.call(method, path, token=token)).status


async def test_without_tokens_this_machine_may_do_everything(unguarded: ControlPlane) -> None:
    """As the audit trail's `local`."""
    answer = await unguarded.call("GET", "/api/v1/session")
    assert {"scope": "write", "actor": "local", "needs_token": False} == answer.document
    assert 404 == (await unguarded.call("POST", NOWHERE)).status


async def test_a_session_opens_what_its_token_opens(guarded: ControlPlane) -> None:
    """The cookie is out of reach for scripts and other sites, and its scope is the token's."""
    answer = await guarded.call("POST", "/api/v1/session", {"token": READ_TOKEN, "name": "ann"})
    assert {"scope": "read", "actor": "ann (read token)", "needs_token": True} == answer.document
    cookie, _, attributes = answer.headers["Set-Cookie"].partition(";")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {part.strip() for part in attributes.split(";")}
    headers = {"Cookie": cookie, **SAME_ORIGIN}
    assert 404 == (await guarded.call("GET", NOWHERE, headers=headers)).status
    assert 403 == (await guarded.call("POST", NOWHERE, headers=headers)).status


async def test_a_session_that_was_closed_opens_nothing(guarded: ControlPlane) -> None:
    """Also for whoever kept the cookie."""
    headers = {**await _log_in(guarded), **SAME_ORIGIN}
    assert 404 == (await guarded.call("GET", NOWHERE, headers=headers)).status
    assert 204 == (await guarded.call("DELETE", "/api/v1/session", headers=headers)).status
    assert 401 == (await guarded.call("GET", NOWHERE, headers=headers)).status


async def test_a_push_token_opens_no_session(guarded: ControlPlane) -> None:
    """It is for machines."""
    assert 403 == (await guarded.call("POST", "/api/v1/session", {"token": PUSH_TOKEN})).status


@pytest.mark.parametrize(
    "body", [{}, {"token": 7}, {"token": WRITE_TOKEN, "naem": "x"}, {"token": WRITE_TOKEN, "name": "\n"}]
)
async def test_a_faulty_log_in_is_told_the_field(guarded: ControlPlane, body: object) -> None:
    """And opens nothing."""
    answer = await guarded.call("POST", "/api/v1/session", body)
    assert (400, True) == (answer.status, answer.document["field"] in {"token", "naem", "name"})
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
    ],
)
async def test_a_forged_request_with_a_cookie_is_refused(guarded: ControlPlane, headers: dict[str, str]) -> None:
    """A browser vouches for a page of ours; without its word a cookie changes nothing."""
    cookie = await _log_in(guarded)
    answer = await guarded.call("POST", NOWHERE, headers={**cookie, **headers})
    assert (403, "cross_origin") == (answer.status, answer.code)


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "cross-site"}, {"Origin": "http://evil.example"}])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_pages_of_other_sites_reach_nothing_without_tokens_either(
    unguarded: ControlPlane, method: str, headers: dict[str, str]
) -> None:
    """Where everything is open to this machine, its browser must not open it to the world."""
    answer = await unguarded.call(method, NOWHERE, headers=headers)
    assert (403, "cross_origin") == (answer.status, answer.code)


async def test_a_foreign_name_is_refused(unguarded: ControlPlane) -> None:
    """DNS rebinding: the browser believes that this machine is the attacker's."""
    answer = await unguarded.call("GET", NOWHERE, headers={"Host": "evil.example"})
    assert (421, "bad_host") == (answer.status, answer.code)


async def test_failed_log_ins_are_limited(guarded: ControlPlane) -> None:
    """By session or by header, and then not even the right token is looked at; open sessions go on."""
    cookie = await _log_in(guarded)
    for number in range(MAX_FAILURES):
        if number % 2:
            answer = await guarded.call("POST", "/api/v1/session", {"token": WRONG})
        else:
            answer = await guarded.call("GET", NOWHERE, token=WRONG)
        assert 401 == answer.status
    answer = await guarded.call("POST", "/api/v1/session", {"token": WRITE_TOKEN})
    assert (429, "too_many_failures") == (answer.status, answer.code)
    assert 0 < int(answer.headers["Retry-After"]) <= 60
    assert 429 == (await guarded.call("GET", NOWHERE, token=WRITE_TOKEN)).status
    assert 404 == (await guarded.call("GET", NOWHERE, headers=cookie)).status


@pytest.mark.parametrize(
    "value", ["Basic dXNlcjpwYXNz", "Bearer", "Bearer ", "Bearer \udcff\udcfe", "bearer  " + WRONG]
)
async def test_nonsense_for_a_token_is_unauthorized(guarded: ControlPlane, value: str) -> None:
    """Never our fault."""
    headers = {"Authorization": value.encode(errors="surrogateescape").decode("latin-1")}
    answer = await guarded.call("GET", NOWHERE, headers=headers)
    assert (401, "Bearer") == (answer.status, answer.headers["WWW-Authenticate"])


async def test_a_page_leads_to_the_log_in(guarded: ControlPlane) -> None:
    """And back to where the reader wanted to go."""
    answer = await guarded.call("GET", "/users/ann?tab=days")
    assert (303, "/login?next=/users/ann?tab%3Ddays") == (answer.status, answer.headers["Location"])


@pytest.mark.parametrize("path", [NOWHERE, "/api/v1/session", "/login"])
async def test_every_answer_binds_the_browser(guarded: ControlPlane, path: str) -> None:
    """Errors too: no foreign script, no frame, no guessing of types, no caching."""
    headers = (await guarded.call("GET", path)).headers
    policy = headers["Content-Security-Policy"]
    assert [True] * 3 == [
        directive in policy for directive in ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'")
    ]
    assert "unsafe" not in policy
    assert ("nosniff", "no-store") == (headers["X-Content-Type-Options"], headers["Cache-Control"])


async def test_behind_tls_cookies_demand_it(valkey_url: str) -> None:
    """The public URL tells that browsers come over TLS."""
    async with control_plane(valkey_url, public_url="https://budgets.example.com", **TOKENS) as control:
        answer = await control.call("POST", "/api/v1/session", {"token": WRITE_TOKEN})
        assert "Secure" in answer.headers["Set-Cookie"]
        assert "max-age" in answer.headers["Strict-Transport-Security"]


async def test_the_admin_listener_needs_no_token(guarded: ControlPlane) -> None:
    """Probes and scrapes; the page's listener has none of them."""
    assert [200, 200] == [(await guarded.admin(path)).status for path in ("/livez", "/metrics")]
    assert 404 == (await guarded.call("GET", "/livez", token=READ_TOKEN)).status


async def test_metrics_name_routes_and_nobody(guarded: ControlPlane) -> None:
    """No label grows with the users."""
    await guarded.call("GET", "/api/v1/session")
    await guarded.call("GET", "/users/ann", token=READ_TOKEN)
    text = (await guarded.admin("/metrics")).body.decode()
    assert 'route="/api/v1/session",status="200"' in text
    assert "ann" not in text
