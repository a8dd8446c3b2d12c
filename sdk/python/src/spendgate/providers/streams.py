"""A provider's stream that is dropped ends at once, not when the garbage collector comes by."""

import copy
from typing import Any


def end_when_dropped(stream: Any) -> None:
    """Let an unread stream's generator refer to a copy of the stream, so that the two are no cycle.

    OpenAI's stream and its generator refer to each other: dropped by its reader, it would hold its connection and its
    budget until the garbage collector runs. Anthropic's are made like this already.
    """
    begin = getattr(type(stream), "__stream__", None)
    if begin is not None and "_iterator" in vars(stream):
        twin = copy.copy(stream)
        del twin._iterator  # noqa: SLF001 - the provider has no public name for it
        stream._iterator = begin(twin)  # noqa: SLF001
