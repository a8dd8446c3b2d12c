"""Export of one user over real stores: all of it, and nothing of anybody else."""

from collections.abc import AsyncIterator

import pytest

from ledger.user_export import export_document
from tests.support.hostile_names import HOSTILE_NAMES
from tests.support.user_house import OTHERS, USER, House, open_house


@pytest.fixture
async def house(store_url: str) -> AsyncIterator[House]:
    """An empty workspace of three partitions."""
    async with open_house(store_url) as house:
        yield house


async def test_an_export_has_all_of_a_user_and_nothing_of_others(house: House) -> None:
    """Three windows, four requests, the events; names that end alike are other people."""
    await house.spend(USER)
    for user in OTHERS:
        await house.spend(user, usd=2)
    document = export_document(await house.reader.read(USER))
    assert {window["window"]: window["spend_usd"] for window in document["windows"]} == dict.fromkeys(
        ("day", "week", "month"), "9.00"
    )
    charged = {request["request_id"]: request["charged_usd"] for request in document["requests"]}
    assert charged == {"r": "3.00", "r:user:1": "7.00", "credit": "-1.00"}
    assert {"blocked", "overrun", "adjusted"} == {event["type"] for event in document["events"]}


@pytest.mark.parametrize("user", [*HOSTILE_NAMES, "a*", "[a-z]", "a?b", "back\\slash"])
async def test_any_name_is_found_exactly(house: House, user: str) -> None:
    """Patterns of the server's search in a name are text."""
    await house.spend(user)
    await house.spend("ab")
    keys = await house.reader.find(user)
    assert (3, 3) == (len(keys.counters), len(keys.records))
    assert all(key.endswith(f":{user}") for key in (*keys.counters.values(), *keys.records.values()))
