"""Real servers for tests that count over processes: what is exact must be so on each of them."""

from collections.abc import Iterator

import pytest

from tests.conftest import running_server, server_binaries


@pytest.fixture(scope="session", params=sorted(server_binaries()))
def store_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each real server in turn; tests keep apart by workspace."""
    with running_server(server_binaries()[request.param]) as url:
        yield url
