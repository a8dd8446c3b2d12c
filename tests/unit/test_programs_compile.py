"""Every program is one that a server's Lua takes; a store that cannot load one looks like a store that is away."""

from pathlib import Path

import pytest
from lupa.lua51 import LuaRuntime

from ledger.scripts import load_script

PROGRAMS = sorted(path.stem for path in (Path(__file__).parents[2] / "lua").glob("*.lua"))


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_compiles(name: str) -> None:
    """As a server function. Catches its 201st local, and the 61st name that a function takes from outside."""
    first, _, body = load_script(name).library.partition("\n")
    assert first.startswith("#!lua ")
    LuaRuntime().compile(body)
