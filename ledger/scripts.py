"""Loads the programs in ``lua/`` and runs them as server functions (FCALL), or as scripts where there are none.

A program is one atomic operation; the files in ``lua/include/`` that it names are joined into it when it is loaded.
A function is compiled once and keeps what it has parsed, where a script makes all its closures anew with every run
(docs/decisions/0010). A function's name carries the hash of its source, so that sidecars of two versions share a store.
"""

import hashlib
import logging
import re
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Any, Final, Protocol, runtime_checkable

from redis.exceptions import NoPermissionError, NoScriptError, ResponseError

_INCLUDE: Final = re.compile(r"^-- @include (?P<names>[a-z_ ]+)$", re.MULTILINE)
_CONSTANT: Final = re.compile(r"^local (?P<name>[A-Z][A-Z0-9_]+) = (?P<value>[A-Z0-9_ *]+?)(?: --.*)?$", re.MULTILINE)
_NAME: Final = re.compile(r"\b[A-Z][A-Z0-9_]+\b")
_FLAGS: Final = re.compile(r"^#!lua(?: flags=(?P<flags>[a-z,-]+))?\n")
_CALL: Final = "\nreturn run(KEYS, ARGV)\n"
_HASH_LENGTH: Final = 16
MAX_LOADS: Final = 2
"""A store may forget a function between its loading and its call; a script's source goes with the call itself."""
RUN_COMMANDS: Final = frozenset({"FCALL", "EVALSHA", "EVAL"})
_UNKNOWN_FUNCTION: Final = "Function not found"
_ALREADY_THERE: Final = "already exists"
_UNKNOWN_COMMAND: Final = "unknown command"

log = logging.getLogger("spendgate.store")


class CommandRunner(Protocol):
    """A redis-py asyncio client, or what behaves like one."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command and return its reply."""
        ...


Tell = Callable[[Any], None]
"""Hears the reply to a command, or the error that redis-py would raise."""
GiveUp = Callable[[BaseException], None]
"""Ends the wait for a reply; whoever waited hears an error."""


@runtime_checkable
class Starter(Protocol):
    """A `CommandRunner` that can often send without waiting for anything."""

    def start(self, packed: bytes, tell: Tell) -> GiveUp | None:
        """Send one packed command at once; `tell` hears the reply, in a later step. Return what gives it up.

        None if it would have to wait, for a connection or for those who do: then nothing was sent.
        """
        ...


class Replicated:
    """A `CommandRunner` that answers programs only once a replica has what they wrote."""

    def __init__(self, runner: CommandRunner, wait_ms: int) -> None:
        self._runner = runner
        self._wait_ms = wait_ms

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send one command and return its reply; a program's raises `NotReplicated` too."""
        wait_ms = self._wait_ms if args[0] in RUN_COMMANDS else 0
        return await self._runner.execute_command(*args, wait_ms=wait_ms, **options)


class Script:
    """One program: its name, its source as a script and as a library with one function, and what servers call both."""

    def __init__(self, name: str, source: str) -> None:
        self.name = name
        body = source + _CALL
        self.source = body
        self.sha = hashlib.sha1(body.encode(), usedforsecurity=False).hexdigest()
        self.function = f"spendgate_{name}_{hashlib.sha256(source.encode()).hexdigest()[:_HASH_LENGTH]}"
        self.library = _as_library(source, self.function)
        self.has_functions = True

    async def run(
        self, client: CommandRunner, keys: list[str], arguments: list[Any], *, failed: Exception | None = None
    ) -> Any:
        """Run the program once and return its reply. Redis' errors pass through; a repeat needs the same ids.

        With `failed` the `first_words` were sent already, and this is what came of them.
        """
        words, error = (len(keys), *keys, *arguments), failed
        for _ in range(MAX_LOADS):
            if error is None:
                if not self.has_functions:
                    break
                try:
                    return await client.execute_command("FCALL", self.function, *words)
                except ResponseError as refusal:
                    error = refusal
            if not isinstance(error, ResponseError) or not await self._can_go_on(client, error):
                raise error
            error = None
        return await self._run_as_script(client, words)

    def first_words(self, keys: list[str], arguments: list[Any]) -> tuple[Any, ...]:
        """Return the command that `run` sends first, while there are functions."""
        return ("FCALL", self.function, len(keys), *keys, *arguments)

    async def _run_as_script(self, client: CommandRunner, words: tuple[Any, ...]) -> Any:
        try:
            return await client.execute_command("EVALSHA", self.sha, *words)
        except NoScriptError:
            return await client.execute_command("EVAL", self.source, *words)

    async def _can_go_on(self, client: CommandRunner, error: ResponseError) -> bool:
        """Load the function if that is what failed, or do without functions if the server or its ACL has none."""
        if _forbids_functions(error):
            self._do_without_functions(error)
            return True
        if _UNKNOWN_FUNCTION not in str(error):
            return False
        try:
            await client.execute_command("FUNCTION", "LOAD", self.library)
        except ResponseError as refusal:
            if _forbids_functions(refusal):
                self._do_without_functions(refusal)
            elif _ALREADY_THERE not in str(refusal):  # else another sidecar was faster
                raise
        return True

    def _do_without_functions(self, error: ResponseError) -> None:
        self.has_functions = False
        log.warning("the store lets no functions be used (%s); %s runs as a script, which is slower", error, self.name)


def _forbids_functions(error: ResponseError) -> bool:
    return isinstance(error, NoPermissionError) or _UNKNOWN_COMMAND in str(error).lower()


def _as_library(source: str, function: str) -> str:
    """Return a library that registers the program's `run`, with the flags of the program's first line."""
    first = _FLAGS.match(source)
    names = (first["flags"] or "").split(",") if first else []
    flags = ", ".join(f"'{name}'" for name in names if name)
    body = source[first.end() :] if first else source
    return (
        f"#!lua name={function}\nlocal register = redis.register_function\n{body}\n"
        f"register{{function_name = '{function}', callback = run, flags = {{{flags}}}}}\n"
    )


@cache
def _read(path: str) -> str:
    return files("lua").joinpath(path).read_text(encoding="utf-8")


def _with_constants(source: str) -> str:
    """Write named numbers where they are used: a Lua program may have 200 locals, and reads numbers faster.

    A number made of one before it stays a local, of that number.
    """
    values: dict[str, str] = {}

    def take(constant: re.Match[str]) -> str:
        if any(word in values for word in _NAME.findall(constant["value"])):
            return constant[0]
        if constant["name"] in values:
            raise ValueError(f"{constant['name']} is named twice")
        values[constant["name"]] = f"({constant['value']})"
        return ""

    rest = _CONSTANT.sub(take, source)
    return _NAME.sub(lambda name: values.get(name[0], name[0]), rest)


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
    source = _with_constants(source)
    if not shebang:
        source = source.removeprefix("#!lua").split("\n", 1)[1]
    return Script(name, source)
