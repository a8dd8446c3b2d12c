"""The page of all commands, made of what the command line says of itself: `make docs` writes it."""

import argparse
from collections.abc import Iterator
from typing import Final

from cli.main import build_parser
from controlplane.settings import SETTINGS as CONTROL_SETTINGS
from sidecar.settings import SETTINGS
from tests.support.processes import ROOT

PAGE: Final = ROOT / "docs" / "cli.md"
SETTING_FLAGS: Final = frozenset(setting.flag for setting in (*SETTINGS, *CONTROL_SETTINGS))
TAKES_SETTINGS: Final = {
    "up": "And every setting of a [sidecar](settings.md) and of a [control plane](control-plane.md#settings)",
    "sidecar": "And every [setting](settings.md)",
    "controlplane": "And every [setting](control-plane.md#settings)",
}
UNSAID: Final = "How many of these a usage has"
HEAD: Final = """\
# The command line

One command, `spendgate`. The exit code is 0 for success, 1 for a failure or a finding, 2 for wrong usage, 130 for
Ctrl-C. `--help` behind any command tells the same as this page, which `make docs` writes; `spendgate --version` tells
the version. Secrets have no flags: a flag shows in the list of processes.
"""

Words = tuple[str, ...]


def _commands(parser: argparse.ArgumentParser, words: Words, told: str) -> Iterator[tuple[Words, str, list[str]]]:
    """Yield each command without subcommands: its words, its one line of help, the rows of its arguments."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for group in groups:
        lines = {choice.dest: choice.help or "" for choice in group._choices_actions}
        for name, command in group.choices.items():
            yield from _commands(command, (*words, name), lines.get(name, ""))
    if not groups:
        takes_settings = words[0] in TAKES_SETTINGS
        rows = [_row(action) for action in parser._actions if _is_told(action, takes_settings=takes_settings)]
        yield words, told, rows


def _is_told(action: argparse.Action, *, takes_settings: bool) -> bool:
    if isinstance(action, argparse._HelpAction) or action.help == argparse.SUPPRESS:
        return False
    return not (takes_settings and SETTING_FLAGS & set(action.option_strings))


def _row(action: argparse.Action) -> str:
    names = action.option_strings or [action.metavar if isinstance(action.metavar, str) else action.dest]
    text = (action.help or UNSAID).replace("%(default)s", str(action.default)).replace("%%", "%").replace("|", "\\|")
    return f"| {', '.join(f'`{name}`' for name in names)} | {_sentence(text)} |"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def command_reference() -> str:
    """Return the page."""
    parts = [HEAD]
    for words, told, rows in _commands(build_parser(), (), ""):
        parts.append(f"\n## `spendgate {' '.join(words)}`\n\n{_sentence(told)}.\n")
        if rows:
            parts.append("\n| Argument | What it is |\n|---|---|\n" + "".join(f"{row}\n" for row in rows))
        if words[0] in TAKES_SETTINGS:
            parts.append(f"\n{TAKES_SETTINGS[words[0]]} but the secrets.\n")
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(command_reference())
