"""Changes what is stored behind the ledger's back, so that the audit has something to find."""

from typing import Any, Final

NUMBERS: Final = ("spend", "held", "calls")
"""What a counter's text begins with (``lua/include/counters.lua``)."""


async def tamper(client: Any, key: str, field: str, change: int) -> None:
    """Add to a number of a counter or total; makes one that is not there."""
    text = await client.get(key) or b"0 0 0 "
    *numbers, rest = text.decode().split(" ", len(NUMBERS))
    numbers[NUMBERS.index(field)] = str(int(numbers[NUMBERS.index(field)]) + change)
    await client.set(key, " ".join([*numbers, rest]), keepttl=True)
