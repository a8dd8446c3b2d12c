"""Whatever stands in a query or a path of the reading half: an answer or a 400 that names a field, never a failure."""

import asyncio
from random import Random
from typing import Final
from urllib.parse import quote, urlencode

import pytest

from controlplane.api.event_fields import FILTER_PARAMETERS
from tests.support.control_reads import control_reads
from tests.support.hostile_names import HOSTILE_NAMES
from tests.support.ledger_under_test import rules, template

REQUESTS: Final = 600
SEED: Final = 11
LARGE: Final = 2**64

PARAMETERS: Final = {
    "events": (*FILTER_PARAMETERS, "cursor", "limit"),
    "events.csv": FILTER_PARAMETERS,
    "usage": ("user_id", "tier"),
    "tiers": ("q", "has_template", "cursor", "limit"),
    "dry-run": ("cursor", "limit"),
    "sidecars": (),
    "users/{}": ("tier",),
    "users/{}/days": ("days",),
}
VALUES: Final = (
    *HOSTILE_NAMES,
    *("", " ", "0", "-1", "1", "50", "200", "1e3", "\u0665", str(LARGE), "9" * 5000, "true", "false", "all"),
    *("blocked,warned", "expired", ",", "0-0-0", "1-0-0", f"{LARGE - 1}-{LARGE - 1}-4095", f"{LARGE}-0-0", "1.0.0"),
    *("2026-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z", "1970-01-01T00:00:00+00:00", "2026-02-30T00:00:00Z"),
    *("\x00", "\r\n", "\u202e", "\ud800", "a\x1fb", "\x1e", "PYTHON", "=", "=====", "LQ", "Kg==", "\uff1d"),
)


def urls(random: Random) -> list[str]:
    """Return requests with random parameters, some of them unknown or given twice."""
    made = []
    for _ in range(REQUESTS):
        path = random.choice(list(PARAMETERS))
        names = [*PARAMETERS[path], "unknown"]
        pairs = [(random.choice(names), random.choice(VALUES)) for _ in range(random.randrange(4))]
        user = quote(random.choice(VALUES), safe="", errors="surrogatepass") or "x"
        made.append(f"{path.format(user)}?{urlencode(pairs, errors='surrogatepass')}")
    return made


def test_no_query_is_a_failure(valkey_url: str) -> None:
    """600 requests: 200 or a problem that says what is wrong."""

    async def ask_all() -> list[tuple[str, int, str]]:
        async with control_reads(valkey_url) as control:
            control.rule_set = rules(template("free", 1), *[template(name, 1) for name in HOSTILE_NAMES])
            for name in HOSTILE_NAMES:
                await control.check(name, 2, tier=name)
            found = []
            for url in urls(Random(SEED)):
                async with control.session.get(f"{control.url}/api/v1/{url}") as response:
                    found.append((url, response.status, (await response.read()).decode()))
            return found

    found = asyncio.run(ask_all())
    statuses = {status for _, status, _ in found}

    assert {200, 400} <= statuses
    assert [] == [(url, status, body) for url, status, body in found if status not in {200, 400, 404}]
    assert [] == [body for _, status, body in found if status == 400 and '"field"' not in body]


@pytest.mark.parametrize("path", ["users//days", "users/", "users/a/b/c", "events/", "events/stream/x"])
def test_a_path_that_is_none_is_not_found(valkey_url: str, path: str) -> None:
    """404, as a problem."""

    async def ask() -> int:
        async with control_reads(valkey_url) as control:
            return (await control.get(path))[0]

    assert 404 == asyncio.run(ask())
