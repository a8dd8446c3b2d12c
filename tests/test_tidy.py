"""The house rules that a machine can check: who imports whom, how long things are, and what must agree with what."""

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from itertools import chain
from math import prod
from pathlib import Path
from typing import Final

import pytest
from lupa.lua51 import LuaRuntime

from ledger.breakdown import MAX_BREAKDOWN_NAMES, NANOS_PER_MILLION_USD
from ledger.decisions import MAX_HOLD_MS, RETENTION_MS
from ledger.memory_holds import MAX_DUE_HOLDS
from ledger.money import CAP_NANOS
from ledger.record_text import RECORD_FIELDS
from ledger.redis_ledger import EVENT_RETENTION_MS, PROGRAMS
from ledger.scripts import load_script

ROOT: Final = Path(__file__).parents[1]
MAX_FILE_LINES: Final = 400
MAX_FUNCTION_LINES: Final = 50

ROOMS: Final = ("ledger", "sidecar", "controlplane", "cli", "sdk")
MAY_IMPORT: Final = {
    "ledger": {"ledger"},
    "sidecar": {"ledger", "sidecar"},
    "controlplane": {"ledger", "controlplane"},
    "cli": {"ledger", "sidecar", "controlplane", "cli"},
    "sdk": set[str](),
}
PURE_MODULES: Final = (
    *("money", "windows", "rules", "decisions", "prices"),
    *("keys", "plans", "operations", "names", "moments", "errors", "breakdown"),
)
INPUT_AND_OUTPUT: Final = frozenset(
    {"redis", "hiredis", "asyncio", "os", "pathlib", "socket", "subprocess", "threading", "time", "urllib", "logging"}
)
MAY_SERVE: Final = re.compile(
    r"sidecar/(api/\w+|app|listeners)\.py|controlplane/((api|web)/\w+|app|keys|listeners)\.py"
)
MAY_MEASURE: Final = frozenset(
    {f"{room}/{file}.py" for room in ("sidecar", "controlplane") for file in ("metrics", "api/admin")}
    | {"sidecar/tallies.py", "sidecar/worker_metrics.py", "sidecar/api/supervisor.py"}
)

LUA_FILES: Final = sorted((ROOT / "lua").rglob("*.lua"))
KEY_COMMANDS: Final = re.compile(r"redis\.call\(\s*'(?P<command>[A-Z]+)'\s*(?P<rest>,\s*(?P<key>[^,)]+))?")
DECLARED_KEYS: Final = frozenset(
    {
        *(
            "key",
            "old_key",
            "erasing_key",
            "holds_key",
            "due_key",
            "unattributed_key",
            "lineage_key",
            "stream",
            "unpack(keys",
            "unpack(names",
        ),
        *("counter.key", "tally.key", "record.key", "record.due_key", "day.key"),
        *("commit.head_key", "commit.book_key", "commit.changes_key", "commit.staged_key", "commit.snapshot_key"),
        *("dropped_key", "sidecars_key", "states_key"),
    }
)
KEYLESS_COMMANDS: Final = frozenset({"TIME", "INFO"})
SPELLED_BY_HOLDS: Final = frozenset({"counter", "tier", "tally", "breakdown"})

# In two halves, so that this file does not contain what it looks for.
UNFINISHED: Final = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|X" + r"XX)\b")
MACHINE_PATH: Final = re.compile(r"(?<![\w.>~-])/(wo" + r"rk|ro" + r"ot|ho" + r"me|Us" + r"ers)/\w")
REGISTRY: Final = re.compile(
    r"--(extra-)?index-url[ =]\S|https?://[^\s/]*(artifactory|nexus|devpi|pypi|npmjs|registry)"
)
SCANNED_BYTES: Final = 1_000_000


@cache
def _python_files(*rooms: str) -> list[Path]:
    return sorted(chain.from_iterable((ROOT / room).rglob("*.py") for room in rooms))


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _imports(path: Path) -> Iterator[str]:
    """Yield what a module imports, in functions too, as dotted names; `from a import b` is ``a.b``."""
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _importers(of: str, *rooms: str) -> set[str]:
    """Return the modules that import `of` or what is in it."""
    return {
        _name(path)
        for path in _python_files(*rooms)
        if any(name == of or name.startswith(f"{of}.") for name in _imports(path))
    }


@cache
def _tracked_texts() -> dict[str, str]:
    """Return the text files that git tracks, by name."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    texts = {}
    for name in listed.decode().split("\0"):
        path = ROOT / name
        if name and path.is_file() and path.stat().st_size < SCANNED_BYTES:
            body = path.read_bytes()
            if b"\0" not in body:
                texts[name] = body.decode()
    return texts


def _found(pattern: re.Pattern[str]) -> list[str]:
    """Return where tracked text matches, as ``file:line``."""
    return [
        f"{name}:{number}"
        for name, text in _tracked_texts().items()
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]


def _lua_code(path: Path) -> str:
    """Return a Lua file without its comments."""
    return re.sub(r"--.*", "", path.read_text())


def _lua_constant(name: str) -> int:
    """Return the value of a constant that is a product of integers."""
    sources = "\n".join(_lua_code(path) for path in LUA_FILES)
    values = re.findall(rf"^local {name} = ([\d *]+)$", sources, re.MULTILINE)
    assert 1 == len(values), f"{name} must be defined once, as a product of integers"
    return prod(int(factor) for factor in values[0].split("*"))


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_in_one_direction(room: str) -> None:
    """A room imports only what stands before it: ledger, then sidecar or controlplane, then cli; the SDK nothing."""
    strangers = set(ROOMS) - MAY_IMPORT[room]

    assert set() == set(chain.from_iterable(_importers(stranger, room) for stranger in strangers))


def test_only_the_ledger_imports_redis() -> None:
    """Everything that touches Redis lives in one room."""
    others = [room for room in ROOMS if room != "ledger"]

    assert set() == _importers("redis", *others) | _importers("hiredis", *others)


def test_no_room_imports_the_sdk() -> None:
    """The SDK lives in apps: it imports as `spendgate`, and no room of the server's needs it."""
    assert set() == _importers("spendgate", *(room for room in ROOMS if room != "sdk"))


def test_only_the_edge_imports_the_web_server() -> None:
    """Handlers, applications and listeners know aiohttp.web; nothing else can tell how it is called."""
    servers = _importers("aiohttp.web", "ledger", "sidecar", "controlplane", "cli")

    assert set() == {name for name in servers if not MAY_SERVE.fullmatch(name)}


def test_metrics_are_defined_in_one_file() -> None:
    """Only the files that define, count and show metrics know the metrics library."""
    assert set() == _importers("prometheus_client", "ledger", "sidecar", "controlplane", "cli") - MAY_MEASURE


@pytest.mark.parametrize("module", PURE_MODULES)
def test_pure_modules_import_no_input_or_output(module: str) -> None:
    """What budgets are can be computed and tested without a clock, a file or a socket."""
    names = {name.partition(".")[0] for name in _imports(ROOT / "ledger" / f"{module}.py")}

    assert set() == names & INPUT_AND_OUTPUT


def test_files_are_short() -> None:
    """No file of the product has more than 400 lines."""
    files = [*_python_files(*ROOMS), *LUA_FILES]

    assert [] == [_name(path) for path in files if len(path.read_text().splitlines()) > MAX_FILE_LINES]


def test_functions_are_short() -> None:
    """No function of the product has more than 50 lines."""
    functions = [
        (f"{_name(path)}:{node.name}", (node.end_lineno or 0) - node.lineno + 1)
        for path in _python_files(*ROOMS)
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]

    assert [] == [name for name, lines in functions if lines > MAX_FUNCTION_LINES]


def test_lua_functions_are_short() -> None:
    """No Lua function has more than 50 lines: each begins with `local function` and ends at the first column."""
    functions = [
        (f"{_name(path)}:{match['name']}", match[0].count("\n") + 1)
        for path in LUA_FILES
        for match in re.finditer(r"^local function (?P<name>\w+).*?^end", path.read_text(), re.MULTILINE | re.DOTALL)
    ]

    assert functions
    assert [] == [name for name, lines in functions if lines > MAX_FUNCTION_LINES]


def test_nothing_is_left_unfinished() -> None:
    """What is not done stands in the tracker, not in a comment."""
    assert [] == _found(UNFINISHED)


def test_no_text_names_this_machine() -> None:
    """Whoever clones the repository has other directories."""
    assert [] == _found(MACHINE_PATH)


def test_no_text_names_a_registry() -> None:
    """Packages come from wherever the reader's own client takes them."""
    assert [] == _found(REGISTRY)


def test_there_is_a_changelog() -> None:
    """Users find what changed, in Keep-a-Changelog form."""
    text = (ROOT / "CHANGELOG.md").read_text()

    assert [True, True] == [heading in text for heading in ("# Changelog", "## [")]


@pytest.mark.parametrize("path", LUA_FILES, ids=_name)
def test_every_script_opens_with_its_purpose(path: Path) -> None:
    """A program or include says first what it is for; a program's first line is its shebang."""
    lines = path.read_text().splitlines()
    is_program = path.parent.name == "lua"

    assert (is_program, True) == (lines[0].startswith("#!lua"), lines[int(is_program)].startswith("-- "))


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_describes_its_interface(name: str) -> None:
    """A program's head tells its KEYS, its ARGV and what it returns, for Lua has no types."""
    head = (ROOT / "lua" / f"{name}.lua").read_text().partition("@include")[0]

    assert [] == [word for word in ("-- KEYS", "-- ARGV", "-- Returns") if word not in head]


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_compiles(name: str) -> None:
    """Joined with its includes a program has at most 200 locals; a store says so only when it is first run."""
    body = load_script(name, shebang=False).source
    assert LuaRuntime().eval("function(text) return select(2, loadstring(text)) end")(body) is None


def test_every_script_command_names_a_declared_key() -> None:
    """Each command's key comes from KEYS or a hold's record, under a name of the list; none is made on the spot."""
    calls = [
        (_name(path), match["command"], (match["key"] or "").strip())
        for path in LUA_FILES
        for match in KEY_COMMANDS.finditer(_lua_code(path))
    ]

    assert len(calls) == sum(_lua_code(path).count("redis.call") for path in LUA_FILES)
    assert [] == [call for call in calls if call[2] not in DECLARED_KEYS and call[1] not in KEYLESS_COMMANDS]


def test_scripts_spell_only_the_keys_of_a_holds_record() -> None:
    """Outside of ledger/keys.py a key is spelled only where a hold's own record names its window."""
    spelled = {name for path in LUA_FILES for name in re.findall(r"prefix \.\. '(\w+):'", _lua_code(path))}

    assert spelled == SPELLED_BY_HOLDS
    assert [] == [
        name for name in spelled if f"{{self.prefix}}{name}:" not in (ROOT / "ledger" / "keys.py").read_text()
    ]


def test_scripts_never_turn_numbers_into_text_by_themselves() -> None:
    """`tostring` and cjson break amounts from 100,000 dollars up: text comes from string.format."""
    assert [] == [_name(path) for path in LUA_FILES if re.search(r"\btostring\b|\bcjson\b", _lua_code(path))]


@pytest.mark.parametrize(
    ("expected", "name"),
    [
        (CAP_NANOS, "CAP_NANOS"),
        (2**53 - 1, "MAX_EXACT"),
        (RETENTION_MS, "RECORD_TTL_MS"),
        (48 * 3600 * 1000, "RECORD_TTL_MS"),
        (MAX_HOLD_MS, "MAX_HOLD_MS"),
        (24 * 3600 * 1000, "MAX_HOLD_MS"),
        (MAX_BREAKDOWN_NAMES, "MAX_BREAKDOWN_NAMES"),
        (1000, "MAX_BREAKDOWN_NAMES"),
        (NANOS_PER_MILLION_USD, "MILLION_USD"),
        (MAX_DUE_HOLDS, "MAX_DUE_HOLDS"),
        (64, "MAX_DUE_HOLDS"),
        (EVENT_RETENTION_MS, "EVENT_TTL_MS"),
        (EVENT_RETENTION_MS, "WINDOW_GRACE_MS"),
    ],
)
def test_lua_and_python_agree_on_a_bound(expected: int, name: str) -> None:
    """A bound that both languages know has one value."""
    assert expected == _lua_constant(name)


def test_lua_and_python_agree_on_the_order_of_a_record() -> None:
    """Whoever reads a record finds its fields where the scripts write them."""
    source = (ROOT / "lua" / "include" / "records.lua").read_text()
    listed = source.partition("RECORD_FIELDS = {")[2].partition("}")[0]
    fields = tuple(re.findall(r"'(\w+)'", listed))

    assert RECORD_FIELDS == fields
