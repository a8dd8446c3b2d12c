"""The SDK's documentation: its examples run, and everything public stands in it."""

import asyncio
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import spendgate
from spendgate import AsyncSpendgate, LLMBudgetExceededError, Spendgate

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "sdk.md"
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
TYPES = {"Amount", "AsyncHold", "Budget", "Settlement", "WarningDetail", "WindowUsage", "__version__"}
"""What an app gets without naming it; docstrings describe it."""


@pytest.mark.parametrize("page", ["docs/sdk.md", "sdk/python/README.md"])
def test_examples_run(page: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every example runs as it stands, against a real sidecar."""
    monkeypatch.setenv("SPENDGATE_URL", url)
    blocks = [block for block in BLOCK.findall((ROOT / page).read_text()) if "OpenAI()" not in block]

    async def acall_model() -> str:
        return "reply"

    space: dict[str, Any] = {"call_model": lambda: "reply", "acall_model": acall_model}
    for block in blocks:
        exec(compile(block, page, "exec"), space)

    assert blocks
    if "answer" in space:
        assert "reply" == asyncio.run(_finished(space))
    for value in space.values():
        if isinstance(value, Spendgate):
            value.close()


async def _finished(space: dict[str, Any]) -> str:
    try:
        reply: str = await space["answer"]("user-42")
    finally:
        await space["agate"].close()
    return reply


def test_everything_public_is_documented() -> None:
    """Each public name, each method and each option of a client stands in the page."""
    text = PAGE.read_text()
    names = set(spendgate.__all__) - TYPES - {"InvalidAmountError", "Hold"}
    methods = {name for name in vars(Spendgate) if not name.startswith("_")}
    options = {name for name in inspect.signature(Spendgate).parameters if name != "self"}
    fields = {name for name, value in vars(LLMBudgetExceededError).items() if isinstance(value, property)}

    undocumented = {name for name in names | methods | options | fields if not re.search(rf"\b{name}\b", text)}

    assert set() == undocumented


def test_both_clients_have_the_same_methods_and_options() -> None:
    """Whoever knows one knows the other."""
    for name in ["__init__", *(name for name in vars(Spendgate) if not name.startswith("_"))]:
        blocking, awaiting = (inspect.signature(getattr(kind, name)) for kind in (Spendgate, AsyncSpendgate))

        assert (name, list(blocking.parameters.values())) == (name, list(awaiting.parameters.values()))


def test_the_import_is_light() -> None:
    """Neither a provider's package nor anything of the server is imported, and typing is announced."""
    program = "import sys, spendgate, spendgate.testing; print(*{name.partition('.')[0] for name in sys.modules})"
    imported = set(subprocess.check_output([sys.executable, "-c", program], text=True).split())

    assert "spendgate" in imported
    assert set() == imported & {
        "ledger",
        "sidecar",
        "redis",
        "aiohttp",
        "openai",
        "anthropic",
        "litellm",
        "langchain_core",
    }
    assert (Path(inspect.getfile(spendgate)).parent / "py.typed").exists()
