"""What the embedded store's server is started with."""

from pathlib import Path

import pytest

from cli.store_server import JEMALLOC, find_jemalloc, server_environment

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


@pytest.mark.parametrize(
    ("set_before", "expected"), [({}, "/lib/jemalloc"), ({"LD_PRELOAD": ""}, ""), ({"LD_PRELOAD": "own"}, "own")]
)
def test_the_server_gets_jemalloc_unless_something_is_loaded_before_it(
    set_before: dict[str, str], expected: str
) -> None:
    """Who preloads something knows why: under libfaketime jemalloc hangs."""
    environment = server_environment(set_before, jemalloc=Path("/lib/jemalloc"))
    assert expected == environment["LD_PRELOAD"]


def test_jemalloc_is_found_in_the_first_directory_that_has_it(tmp_path: Path) -> None:
    """Distributions keep it in different places; many have none."""
    directories = [tmp_path / name for name in ("none", "first", "second")]
    found = [directory / JEMALLOC for directory in directories[1:]]
    for path in found:
        path.parent.mkdir()
        path.touch()

    assert (found[0], None) == (find_jemalloc(directories), find_jemalloc(directories[:1]))
