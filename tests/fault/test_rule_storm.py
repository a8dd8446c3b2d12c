"""Several control planes change the rules at once, the trail is cut: at the end every follower has the book."""

import asyncio
import random
from pathlib import Path
from typing import Final

import pytest

from ledger.errors import LedgerError
from ledger.rules import RuleKind
from tests.support.books import new_workspace
from tests.support.rule_delivery import Delivery, delivery, eventually, following

WRITERS: Final = 3
STEPS: Final = 25
ZONES: Final = ("UTC", "Asia/Tokyo", "Europe/Berlin")


async def _step(control: Delivery, rng: random.Random) -> None:
    """Do one thing that an operator may do, or cut the trail."""
    registry, ids = control.registry, list(control.registry.book.entries)
    document = {"key": f"user-{rng.randrange(40)}", "limit_usd": rng.randrange(9)}
    match rng.randrange(20):
        case 0:
            await control.add_overrides(rng.randrange(1001, 2200), rng.randrange(5))
        case 1:
            await control.client.xtrim(control.keys.changes, maxlen=3, approximate=False)
        case 2:
            await registry.restore(max(0, registry.book.revision - rng.randrange(1, 5)), actor="ada")
        case 3 | 4:
            await registry.put_settings({"timezone": rng.choice(ZONES)}, expected_revision=None, actor="ada")
        case 5:
            await registry.import_document({"rules": []}, expected_revision=None, actor="ada")
        case 6 | 7 | 8 | 9 if ids:
            await registry.update(rng.choice(ids), document, expected_rule_revision=None, actor="ada")
        case 10 | 11 | 12 if ids:
            await registry.delete(rng.choice(ids), expected_rule_revision=None, actor="ada")
        case _:
            await registry.create(document, kind=rng.choice(list(RuleKind)), actor="ada")


async def _write(url: str, workspace: str, seed: int) -> None:
    rng = random.Random(seed)
    async with delivery(url, workspace) as control:
        for _ in range(STEPS):
            try:
                await _step(control, rng)
            except LedgerError as error:
                # A rule that another has deleted or made, history that was cut, or others that were faster.
                if error.status not in {404, 409, 410, 412}:
                    raise


@pytest.mark.parametrize("seed", [1, 2])
async def test_after_a_storm_all_have_the_same_book(
    valkey_url: str, tmp_path: Path, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Followers, a control plane's registry and a fresh reader agree, and no delta was ever made for another book."""
    workspace = new_workspace()
    async with (
        following(valkey_url, workspace, tmp_path / "a") as first,
        following(valkey_url, workspace, tmp_path / "b") as second,
        delivery(valkey_url, workspace) as control,
    ):
        async with asyncio.TaskGroup() as group:
            for number in range(WRITERS):
                group.create_task(_write(valkey_url, workspace, seed * WRITERS + number))
        book = await control.store.load()
        await control.registry.load()
        await eventually(lambda: first.position == book.position == second.position)

        assert (book.rule_set(), book.rule_set(), book) == (first.current, second.current, control.registry.book)
    assert "does not fit" not in caplog.text
