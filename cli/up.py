"""`spendgate up`: runs a sidecar with the page, and with a store of its own if none is named."""

import argparse
import contextlib
import dataclasses
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NoReturn

from cli.arguments import Subcommands
from cli.data_dir import PRIVATE_MODE
from cli.embedded import EmbeddedStore, EmbeddedStoreError, refuse_in_kubernetes
from cli.failure import CommandFailed, WrongUsage
from cli.page_process import PageProcess
from cli.process_settings import add_settings, flags_of, wrong_settings
from cli.sidecar import read_settings, serve
from controlplane.settings import SETTINGS as CONTROL_SETTINGS
from controlplane.settings import Settings as ControlSettings
from sidecar.settings import SETTINGS, Settings, SettingsError, redact_url

EXIT_TERMINATED: Final = 128 + signal.SIGTERM
STORE_NAME: Final = "store"
REDIS_URL: Final = next(setting for setting in SETTINGS if setting.name == "redis_url")
CONTROL_NAME: Final = "control"
CONTROL_DATA_DIR: Final = next(setting for setting in CONTROL_SETTINGS if setting.name == "control_data_dir")
NO_STORE_YET: Final = "unix://"
ELSEWHERE: Final = {"file": "from the rule file", "push": "pushed to the sidecar (SPENDGATE_RULES_SOURCE)"}
PAGE_SETTINGS: Final = tuple(
    setting for setting in CONTROL_SETTINGS if setting.name not in {own.name for own in SETTINGS}
)
"""What `up` passes on to the control plane beside the settings that both have."""


def add_parser(commands: "Subcommands[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    up = commands.add_parser(
        "up", allow_abbrev=False, help="run a sidecar and the page; without --redis-url over an embedded Valkey"
    )
    up.add_argument(
        "--embedded",
        action="store_true",
        default=os.environ.get("SPENDGATE_EMBEDDED") == "1",
        help="start the embedded store even inside Kubernetes [SPENDGATE_EMBEDDED=1]",
    )
    up.add_argument(
        "--no-page", action="store_true", help="run the sidecar without the control plane that serves the page"
    )
    up.set_defaults(run=run_up)
    add_settings(up, SETTINGS)
    add_settings(up, PAGE_SETTINGS)


def run_up(arguments: argparse.Namespace) -> int:
    """Serve over the store that is named, else over an embedded one, until SIGTERM or Ctrl-C."""
    flags = flags_of(arguments, (*SETTINGS, *PAGE_SETTINGS))
    redis_url = flags["redis_url"] or os.environ.get(REDIS_URL.env)
    settings = read_settings({**flags, "redis_url": redis_url or NO_STORE_YET})
    page = _page_environment(flags, Path(settings.data_dir), has_rule_file=settings.rules is not None)
    signal.signal(signal.SIGTERM, _exit_at_once)  # Until the sidecar has handlers of its own.
    with contextlib.ExitStack() as stack:
        if redis_url:
            print(f"Store: {redact_url(redis_url)} (no embedded one is started)", flush=True)
        else:
            store = stack.enter_context(_embedded_store(settings, explicit=arguments.embedded))
            print(store.banner, flush=True)
            settings = dataclasses.replace(settings, redis_url=store.url)
        if not arguments.no_page:
            started = PageProcess.start({**page, REDIS_URL.env: settings.redis_url})
            url = stack.enter_context(started).url
            print(f"Page: {url}", flush=True)
            if settings.rules_source != "store":
                print(
                    f"Rules: {ELSEWHERE[settings.rules_source]}; what the page edits is not in force here", flush=True
                )
        return serve(settings)


def store_dir(data_dir: Path) -> Path:
    """Return where `spendgate up` keeps the embedded store's files below its data directory."""
    return data_dir / STORE_NAME


@contextlib.contextmanager
def _embedded_store(settings: Settings, *, explicit: bool) -> Iterator[EmbeddedStore]:
    try:
        refuse_in_kubernetes(os.environ, explicit=explicit)
        Path(settings.data_dir).mkdir(mode=PRIVATE_MODE, parents=True, exist_ok=True)
        store = EmbeddedStore.start(store_dir(Path(settings.data_dir)))
    except (EmbeddedStoreError, OSError) as error:
        raise CommandFailed(str(error)) from error
    with store:
        yield store


def _page_environment(flags: Mapping[str, str | None], data_dir: Path, *, has_rule_file: bool) -> dict[str, str]:
    """Return the environment of the control plane: this one, and what the command line says.

    Raises `WrongUsage` if its settings are wrong.
    """
    said = {setting.env: flags.get(setting.name) for setting in CONTROL_SETTINGS}
    environment = dict(os.environ) | {name: value for name, value in said.items() if value is not None}
    environment.setdefault(CONTROL_DATA_DIR.env, str(data_dir / CONTROL_NAME))
    try:
        settings = ControlSettings.read({**environment, REDIS_URL.env: NO_STORE_YET}, {})
    except SettingsError as error:
        raise wrong_settings(error) from error
    if settings.seed is not None and has_rule_file:
        raise WrongUsage(
            "--seed and --rules exclude each other: with a rule file the sidecar follows the file, "
            "with a seed it follows what the page edits"
        )
    return environment


def _exit_at_once(*_: object) -> NoReturn:
    """End by an exception, so that the embedded store is stopped on the way out."""
    raise SystemExit(EXIT_TERMINATED)
