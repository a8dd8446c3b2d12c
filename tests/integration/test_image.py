"""The image: built by the Dockerfile's own steps, run as its user, with nothing but the data directory to write to."""

import fnmatch
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from controlplane.settings import SETTINGS as CONTROL_SETTINGS
from sidecar.settings import SETTINGS
from tests.support.image import DOCKERFILE, USER_ID, Image, build, instructions
from tests.support.processes import ROOT, SERVING, START_DEADLINE_S, STOP_DEADLINE_S

DEPLOY_BIN: Final = ROOT / ".venv" / "deploy" / "bin"
RULES: Final = "rules:\n  - {kind: tier_template, key: free, limit_usd: 5, window: month, action: block}\n"
IS_ROOT: Final = os.geteuid() == 0
"""Only root can become the image's user; anybody else runs the entrypoint as themselves."""


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    """Return what the image's first stage makes, in a directory that its user may read and not write."""
    with tempfile.TemporaryDirectory(prefix="sg-image-") as name:
        root = Path(name) / "root"
        built = build(root)
        Path(name).chmod(0o755)
        subprocess.run(["chmod", "-R", "go+rX,a-w", str(root)], check=True)
        yield built
        subprocess.run(["chmod", "-R", "u+w", str(root)], check=True)


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Return the one directory that belongs to the image's user."""
    with tempfile.TemporaryDirectory(prefix="sg-data-") as name:
        if IS_ROOT:
            os.chown(name, USER_ID, USER_ID)
        yield Path(name)


def _identity() -> dict[str, Any]:
    return {"user": USER_ID, "group": USER_ID, "extra_groups": []} if IS_ROOT else {}


def _environment(image: Image, data_dir: Path, **variables: str) -> dict[str, str]:
    return {
        "PATH": "/usr/bin:/bin",
        "LD_LIBRARY_PATH": str(image.libraries),
        "PYTHONDONTWRITEBYTECODE": "1",
        "SPENDGATE_DATA_DIR": str(data_dir),
        "SPENDGATE_REDIS_URL": "redis://127.0.0.1:1",
        "SPENDGATE_PORT": "auto",
        "SPENDGATE_ADMIN_PORT": "auto",
        **variables,
    }


def _run(image: Image, data_dir: Path, *words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(image.entrypoint), *words],
        capture_output=True,
        text=True,
        cwd=data_dir,
        env=_environment(image, data_dir, **variables),
        timeout=STOP_DEADLINE_S,
        check=False,
        **_identity(),
    )


def test_the_dockerfile_is_clean() -> None:
    """Hadolint has nothing to say."""
    result = subprocess.run([DEPLOY_BIN / "hadolint", str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert (0, "") == (result.returncode, result.stdout)


def test_the_image_runs_as_its_user_by_an_exec_form_entrypoint() -> None:
    """Signals reach the process itself, the user has no rights, and every admin port is told."""
    last = {entry.name: entry.rest for entry in instructions(DOCKERFILE.read_text()) if entry.stage == 1}
    assert (f"{USER_ID}:{USER_ID}", '["spendgate"]', '["sidecar"]') == (last["USER"], last["ENTRYPOINT"], last["CMD"])
    assert "8787 8788 9797 9798" == last["EXPOSE"]


def test_everything_that_is_copied_passes_the_ignore_file() -> None:
    """What `.dockerignore` keeps out cannot be copied: a build would fail where no test runs."""
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [
        source
        for entry in instructions(DOCKERFILE.read_text())
        if entry.name == "COPY" and not entry.rest.startswith("--from")
        for source in entry.rest.split()[:-1]
    ]
    assert [] == [source for source in copied if not any(fnmatch.fnmatch(source, name) for name in allowed)]


def test_the_image_has_the_runtime_and_nothing_to_build_or_test_with(image: Image) -> None:
    """Every import of the command line is there by the lock alone; pip, pytest and compilers are not."""
    python = image.entrypoint.with_name("python")
    program = (
        "from cli.main import build_parser; from importlib.metadata import distributions; build_parser()\n"
        "print(*(found.name.lower() for found in distributions()))"
    )
    listed = subprocess.run(
        [python, "-c", program],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert "spendgate-server" in listed
    assert [] == [name for name in ("pip", "pytest", "mypy", "ruff", "hatchling", "playwright") if name in listed]


def test_the_entrypoint_serves_from_a_tree_that_nobody_may_write(image: Image, data_dir: Path) -> None:
    """As its user, with rules from a file, without a store: it serves, is asked for its health, and ends on SIGTERM."""
    rules = data_dir / "budgets.yaml"
    rules.write_text(RULES)
    before = {path: path.stat().st_mtime_ns for path in image.root.rglob("*")}
    log = data_dir / "log"
    environment = _environment(image, data_dir, SPENDGATE_RULES=str(rules))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(image.entrypoint), "sidecar"], stderr=output, cwd=data_dir, env=environment, **_identity()
        )
    try:
        port = _admin_port(process, log)
        live = _run(image, data_dir, "healthcheck", "--live", SPENDGATE_ADMIN_PORT=port)
        ready = _run(image, data_dir, "healthcheck", SPENDGATE_ADMIN_PORT=port)
        process.send_signal(signal.SIGTERM)
        code = process.wait(STOP_DEADLINE_S)
    finally:
        process.kill()
        process.wait()

    assert (0, 0, 0) == (live.returncode, ready.returncode, code), log.read_text()
    assert before == {path: path.stat().st_mtime_ns for path in image.root.rglob("*")}


def _admin_port(process: "subprocess.Popen[bytes]", log: Path) -> str:
    deadline = time.monotonic() + START_DEADLINE_S
    while time.monotonic() < deadline and process.poll() is None:
        if match := SERVING.search(log.read_text()):
            return match["admin"].rpartition(":")[2]
        time.sleep(0.02)
    raise AssertionError(log.read_text())


def test_a_process_that_is_not_there_is_not_healthy(image: Image, data_dir: Path) -> None:
    """The exit code is 1, and the answer says where it asked."""
    result = _run(image, data_dir, "healthcheck", "controlplane", SPENDGATE_CONTROL_ADMIN_PORT="1")
    assert (1, True) == (result.returncode, "no controlplane answers on 127.0.0.1:1" in result.stderr)


def test_the_sample_app_of_compose_runs_without_any_package() -> None:
    """It must start in a plain Python image: nothing but the standard library, and a sidecar that is gone is told."""
    app = ROOT / "config" / "compose" / "app.py"
    result = subprocess.run(
        [sys.executable, "-I", "-S", str(app), "2"],
        capture_output=True,
        text=True,
        env={"SPENDGATE_URL": "http://127.0.0.1:1"},
        timeout=STOP_DEADLINE_S,
        check=False,
    )
    assert (0, 2) == (result.returncode, result.stdout.count("no decision"))


def test_compose_starts_what_is_there() -> None:
    """Every mounted file exists, every command and health check is one of ours, nobody may write to its root."""
    services: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    mounts = [mount.split(":")[0] for service in services.values() for mount in service.get("volumes", ())]
    assert [] == [mount for mount in mounts if mount.startswith("./") and not (ROOT / mount).is_file()]
    ours = {name: service for name, service in services.items() if service.get("build")}
    assert {"controlplane": ["controlplane"], "sidecar": ["sidecar"]} == {
        name: service["command"] for name, service in ours.items()
    }
    assert [["CMD", "spendgate", "healthcheck", name] for name in ours] == [
        service["healthcheck"]["test"] for service in ours.values()
    ]
    assert {True} == {service["read_only"] for name, service in services.items() if name != "store"}


def test_every_variable_of_compose_is_a_setting() -> None:
    """A misspelt variable would be ignored in silence."""
    known = {setting.env for setting in (*SETTINGS, *CONTROL_SETTINGS)} | {"SPENDGATE_URL"}
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    given = {name for service in services.values() for name in service.get("environment", {})}
    assert given
    assert set() == given - known
