"""Settings of the processes that the command line starts: a flag for each but the secrets, and faults as messages."""

import argparse
from collections.abc import Iterable

from cli.failure import WrongUsage
from ledger.setting_parsing import Setting, SettingsError


def add_settings(parser: argparse.ArgumentParser, settings: Iterable[Setting]) -> None:
    """Add a flag for each setting but the secrets, which every user of the machine could read in a process list."""
    for setting in settings:
        if setting.unit == "secret":
            continue
        default = "" if setting.default is None else f", default {setting.default}"
        parser.add_argument(
            setting.flag,
            dest=f"setting_{setting.name}",
            metavar=setting.unit.upper().replace(" ", "_"),
            help=f"{setting.help} [{setting.env}{default}]".replace("%", "%%"),
        )


def flags_of(arguments: argparse.Namespace, settings: Iterable[Setting]) -> dict[str, str | None]:
    """Return what was given on the command line, by the settings' names."""
    return {setting.name: getattr(arguments, f"setting_{setting.name}", None) for setting in settings}


def wrong_settings(error: SettingsError) -> WrongUsage:
    """Return the failure of a command whose settings are wrong."""
    return WrongUsage("\n  ".join(["these settings are wrong:", *error.faults]))
