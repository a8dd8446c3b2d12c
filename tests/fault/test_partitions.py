"""A sidecar that disagrees about the number of partitions refuses to serve."""

import uuid
from pathlib import Path

import pytest

from tests.support.processes import running_sidecar

RULES = Path(__file__).parents[2] / "config" / "budgets.example.yaml"


def test_a_sidecar_with_other_partitions_does_not_start(tmp_path: Path, valkey_url: str) -> None:
    """It would look for the same users under other keys, and every limit would start anew."""
    workspace = f"partitions-{uuid.uuid4().hex[:8]}"
    refusal = pytest.raises(RuntimeError, match=f"workspace {workspace} has 1 partitions, not 4")
    with (
        running_sidecar(tmp_path / "one", valkey_url, RULES, workspace=workspace, partitions=1),
        refusal,
        running_sidecar(tmp_path / "four", valkey_url, RULES, workspace=workspace, partitions=4),
    ):
        pass
