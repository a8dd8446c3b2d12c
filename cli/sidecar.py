"""`spendgate sidecar`: runs a sidecar over a store that is already there.

Apart from `cli.up`, because there is one beside every app, and none needs the embedded store in its memory.
"""

import argparse
import os
from collections.abc import Mapping

from cli.arguments import Subcommands
from cli.failure import CommandFailed
from cli.process_settings import add_settings, flags_of, wrong_settings
from ledger.errors import LedgerError, RuleSetInvalid
from sidecar.settings import SETTINGS, Settings, SettingsError
from sidecar.start import run as run_sidecar


def add_parser(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "sidecar", allow_abbrev=False, help="run a sidecar over a Redis or Valkey that is already there"
    )
    parser.set_defaults(run=run)
    add_settings(parser, SETTINGS)


def run(arguments: argparse.Namespace) -> int:
    """Serve over the store that is named, until SIGTERM or Ctrl-C."""
    return serve(read_settings(flags_of(arguments, SETTINGS)))


def read_settings(flags: Mapping[str, str | None]) -> Settings:
    """Return the settings of flags and environment; raises `WrongUsage` if they are wrong."""
    try:
        return Settings.read(os.environ, flags)
    except SettingsError as error:
        raise wrong_settings(error) from error


def serve(settings: Settings) -> int:
    """Serve until SIGTERM or Ctrl-C; raises `CommandFailed` if a start is impossible."""
    try:
        run_sidecar(settings)
    except RuleSetInvalid as invalid:
        faults = "".join(f"\n  {path}: {message}" for path, message in invalid.faults)
        raise CommandFailed(f"the rules of {settings.rules} are refused:{faults}") from invalid
    except (LedgerError, OSError) as error:
        raise CommandFailed(f"the sidecar cannot run: {error}") from error
    return 0
