"""What the embedded store's server is started with."""

import pytest

from cli.store_server import server_environment

OURS = "glibc.malloc.tcache_count=2000"


@pytest.mark.parametrize(
    ("set_before", "expected"),
    [
        ({}, OURS),
        ({"GLIBC_TUNABLES": ""}, OURS),
        ({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}, f"glibc.malloc.hugetlb=1:{OURS}"),
        ({"GLIBC_TUNABLES": "glibc.malloc.tcache_count=7"}, "glibc.malloc.tcache_count=7"),
    ],
)
def test_the_server_keeps_freed_memory_at_hand(set_before: dict[str, str], expected: str) -> None:
    """Other tunables stay, and who has set this one knows why."""
    environment = server_environment({"LANG": "C"} | set_before)
    assert {"LANG": "C", "GLIBC_TUNABLES": expected} == environment
