"""What the programs' joined sources must keep to, before a server compiles them."""

import re
from importlib.resources import files

import pytest

from ledger.scripts import load_script

LUA_LOCALS = 200
"""Lua 5.1 compiles no function with more; a program's own are its function's."""
ROOM = 10
PROGRAMS = sorted(path.name.removesuffix(".lua") for path in files("lua").iterdir() if path.name.endswith(".lua"))


def _locals_of(source: str) -> int:
    lines = [line.removeprefix("local ") for line in source.splitlines() if line.startswith("local ")]
    return sum(1 if line.startswith("function ") else re.split(r"=|--", line)[0].count(",") + 1 for line in lines)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_has_room_for_a_few_more_names(name: str) -> None:
    """A file that is included in one that is full would stop every sidecar: names go into tables before that."""
    assert _locals_of(load_script(name).source) <= LUA_LOCALS - ROOM


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_named_number_stands_where_it_is_used(name: str) -> None:
    """No local is spent on a number that a program names."""
    source = load_script(name).source

    assert [] == re.findall(r"^local ([A-Z][A-Z0-9_]+) = [0-9 *]+(?: --.*)?$", source, re.MULTILINE)


def test_a_number_that_is_named_twice_is_no_program() -> None:
    """Two files that a program includes may not mean different numbers by one name."""
    with pytest.raises(ValueError, match="WINDOW_GRACE_MS is named twice"):
        load_script("usage", replacements={"numbers": "local WINDOW_GRACE_MS = 1\nlocal CAP_NANOS = 2"})
