"""The tests of `tests/sdk/providers`, run in the environments that have the providers' packages."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = "tests/sdk/providers"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("environment", ["providers", "providers-older"])
def test_wrapped_clients_work_with_the_packages(environment: str) -> None:
    """Those of OpenAI and Anthropic as they are, and of one major version before."""
    python = ROOT / ".venv" / environment / "bin" / "python"
    assert python.exists(), "run `make providers` first"

    run = subprocess.run([python, "-m", "pytest", "-q", TESTS], cwd=ROOT, capture_output=True, text=True, check=False)

    assert 0 == run.returncode, run.stdout + run.stderr
    assert " passed" in run.stdout
