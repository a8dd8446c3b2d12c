"""`spendgate healthcheck`: asks the process in this container whether it is ready, for runtimes without HTTP probes.

It runs every few seconds beside the process it asks, so `cli.entry` runs it without loading the servers.
"""

import argparse
import http.client
import os
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any, Final

from cli.failure import CommandFailed, WrongUsage
from controlplane.settings import SETTINGS as CONTROL_SETTINGS
from ledger.setting_parsing import Setting, read_values
from sidecar.settings import SETTINGS as SIDECAR_SETTINGS

NAME: Final = "healthcheck"
TIMEOUT_S: Final = 2.0
STATUS_OK: Final = 200
MAX_ANSWER_BYTES: Final = 1000

LISTENERS: Final = {
    "sidecar": [setting for setting in SIDECAR_SETTINGS if setting.name in {"admin_host", "admin_port"}],
    "controlplane": [
        setting for setting in CONTROL_SETTINGS if setting.name in {"control_admin_host", "control_admin_port"}
    ],
}
"""Where each process serves its health: the settings it was started with tell."""


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(NAME, allow_abbrev=False, help="ask a process of this container whether it is ready")
    parser.add_argument("process", nargs="?", choices=sorted(LISTENERS), default="sidecar", help="default: sidecar")
    parser.add_argument("--live", action="store_true", help="ask only whether its event loop runs")
    parser.set_defaults(run=run)


def main(words: Sequence[str]) -> int:
    """Run the command alone; returns 0 when the process is ready, 1 when it is not, 2 for wrong settings."""
    parser = argparse.ArgumentParser(prog="spendgate", allow_abbrev=False)
    add_parser(parser.add_subparsers(required=True, metavar="COMMAND"))
    arguments = parser.parse_args([NAME, *words])
    try:
        return run(arguments)
    except CommandFailed as failure:
        parser.exit(2 if isinstance(failure, WrongUsage) else 1, f"spendgate: {failure}\n")


def run(arguments: argparse.Namespace) -> int:
    """Ask and print the answer. Raises `CommandFailed` unless it is a 200."""
    host, port = _address(LISTENERS[arguments.process])
    path = "/livez" if arguments.live else "/readyz"
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        with connection.getresponse() as response:
            answer = response.read(MAX_ANSWER_BYTES).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise CommandFailed(f"no {arguments.process} answers on {host}:{port} ({error})") from error
    finally:
        connection.close()
    if response.status != STATUS_OK:
        raise CommandFailed(f"{path} answers {response.status}: {answer}")
    print(answer)
    return 0


def _address(settings: Sequence[Setting]) -> tuple[str, int]:
    """Return where to ask. Raises `WrongUsage` for settings that do not tell."""
    values, faults = read_values(settings, os.environ, {})
    host, port = (values[setting.name] for setting in settings)
    if port == 0:
        faults = [f"{settings[1].env}: must be a number here, a free port cannot be guessed"]
    if faults:
        raise WrongUsage("; ".join(faults))
    return _reachable(host), port


def _reachable(host: str) -> str:
    """Return the loopback address of a listener that is bound to every address."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "::1"  # noqa: PLR2004 - of IP
    return host
