"""The image without an engine: the Dockerfile's own build steps run in a directory that stands for its root."""

import os
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.processes import ROOT

DOCKERFILE: Final = ROOT / "Dockerfile"
USER_ID: Final = 65532
WORK_DIR: Final = "src"
STEP_TIMEOUT_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of a Dockerfile, its continuation lines joined."""

    stage: int
    name: str
    rest: str


def instructions(text: str) -> list[Instruction]:
    """Return what a Dockerfile says, without comments; stages count from 0."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    found: list[Instruction] = []
    stage = -1
    for logical in re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines():
        name, _, rest = logical.partition(" ")
        stage += name == "FROM"
        found.append(Instruction(stage, name, rest.strip()))
    return found


@dataclass(frozen=True, slots=True)
class Image:
    """What the image's last stage takes over, under `root` instead of /."""

    root: Path

    @property
    def entrypoint(self) -> Path:
        """The console script that the image runs."""
        return self.root / "opt" / "spendgate" / "bin" / "spendgate"

    @property
    def libraries(self) -> Path:
        """Where a copied interpreter has its shared library."""
        return self.root / "lib"


def build(root: Path) -> Image:
    """Run the first stage's COPY and RUN in order; absolute paths of the image lie under `root`."""
    work_dir = root / WORK_DIR
    work_dir.mkdir(parents=True)
    environment = {**os.environ, "PATH": f"{_base_python(root)}:{os.environ['PATH']}"}
    for instruction in instructions(DOCKERFILE.read_text()):
        if instruction.stage != 0:
            break
        if instruction.name == "COPY":
            _copy(instruction.rest, work_dir)
        elif instruction.name == "ARG":
            name, _, default = instruction.rest.partition("=")
            environment[name] = default
        elif instruction.name == "RUN":
            command = instruction.rest.replace("/opt/", f"{root}/opt/")
            subprocess.run(
                ["/bin/sh", "-ec", command], cwd=work_dir, env=environment, check=True, timeout=STEP_TIMEOUT_S
            )
    return Image(root)


def _base_python(root: Path) -> Path:
    """Return a directory with a `python` that has no packages, for everybody: the image's base.

    An interpreter in a private home is copied, since the image's user could not reach it.
    """
    python = Path(sys.executable).resolve()
    directory = root / "bin"
    if all(parent.stat().st_mode & stat.S_IXOTH for parent in python.parents):
        directory.mkdir()
    else:
        without = shutil.ignore_patterns("site-packages", "test", "__pycache__", "*.a")
        shutil.copytree(sys.base_prefix, root, symlinks=True, ignore=without, dirs_exist_ok=True)
        python = directory / python.name
    (directory / "python").unlink(missing_ok=True)
    (directory / "python").symlink_to(python)
    return directory


def _copy(rest: str, work_dir: Path) -> None:
    """Copy what git knows of each source: neither caches nor what a developer left lying about."""
    *sources, target = rest.split()
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *sources],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    names = [name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    if not names:
        raise ValueError(f"the Dockerfile copies {rest}, which is not there")
    for name in names:
        place = work_dir / (name if target == sources[0] or target == "./" else f"{target}/{name}")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, place)
