"""`spendgate controlplane`: serves the Enforcement page and its API over a store."""

import argparse
import os

from cli.arguments import Subcommands
from cli.failure import CommandFailed
from cli.process_settings import add_settings, flags_of, wrong_settings
from controlplane.listeners import Listeners
from controlplane.service import run as run_control_plane
from controlplane.settings import SETTINGS, Settings
from ledger.errors import LedgerError, RuleSetInvalid
from ledger.setting_parsing import SettingsError
from sidecar.logs import configure_logs


def add_parser(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "controlplane", allow_abbrev=False, help="serve the Enforcement page over a Redis or Valkey that is there"
    )
    # Where `spendgate up`, which starts this, reads the page's address from.
    parser.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)
    add_settings(parser, SETTINGS)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or Ctrl-C."""
    try:
        settings = Settings.read(os.environ, flags_of(arguments, SETTINGS))
    except SettingsError as error:
        raise wrong_settings(error) from error
    configure_logs(settings.log_level, settings.log_format)

    def tell(listeners: Listeners) -> None:
        if arguments.ready_fd is not None:
            with os.fdopen(arguments.ready_fd, "w") as pipe:
                pipe.write(f"{listeners.page_url}\n")

    try:
        run_control_plane(settings, on_serving=tell)
    except RuleSetInvalid as invalid:
        faults = "".join(f"\n  {path}: {message}" for path, message in invalid.faults)
        files = " and ".join(filter(None, (settings.seed, settings.seed_prices)))
        raise CommandFailed(f"the rules of {files} are refused:{faults}") from invalid
    except (LedgerError, OSError) as error:
        raise CommandFailed(f"the control plane cannot run: {error}") from error
    return 0
