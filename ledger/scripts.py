"""Loads the programs in ``lua/`` and runs them: EVALSHA, and EVAL with the source where the server does not know it.

A program is one atomic operation; the files in ``lua/include/`` that it names are joined into it when it is loaded.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Protocol

from redis.exceptions import NoScriptError

_INCLUDE = re.compile(r"^-- @include (?P<names>[a-z_ ]+)$", re.MULTILINE)


class CommandRunner(Protocol):
    """A redis-py asyncio client, or what behaves like one."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command and return its reply."""
        ...


@dataclass(frozen=True, slots=True)
class Script:
    """One program: its name, its whole source, and the SHA-1 by which servers know it."""

    name: str
    source: str
    sha: str

    async def run(self, client: CommandRunner, keys: list[str], arguments: list[Any]) -> Any:
        """Run the program once and return its reply. Redis' errors pass through; a repeat needs the same ids."""
        try:
            return await client.execute_command("EVALSHA", self.sha, len(keys), *keys, *arguments)
        except NoScriptError:
            return await client.execute_command("EVAL", self.source, len(keys), *keys, *arguments)


@cache
def _read(path: str) -> str:
    return files("lua").joinpath(path).read_text(encoding="utf-8")


def load_script(name: str, *, replacements: dict[str, str] | None = None, shebang: bool = True) -> Script:
    """Return the program ``lua/<name>.lua`` with its includes.

    `replacements` gives other sources for some includes (tests set the clock so); without `shebang` the first line
    is left out, for servers that do not know it.
    """
    swaps = replacements or {}

    def include(match: re.Match[str]) -> str:
        return "\n".join(swaps.get(part) or _read(f"include/{part}.lua") for part in match["names"].split())

    source = _read(f"{name}.lua")
    while _INCLUDE.search(source):
        source = _INCLUDE.sub(include, source)
    if not shebang:
        source = source.removeprefix("#!lua").split("\n", 1)[1]
    return Script(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())
