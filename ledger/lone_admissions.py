"""Packs the command of a run with one check or reserve: what all calls of a plan and a kind share is packed once.

What it packs is, byte for byte, what `hiredis.pack_command` makes of the words of `Batch`, from which the shared part
is taken; so nothing here knows the layout, but that a call's ids and its own argument, the last, are what differs.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import hiredis

from ledger.keys import PartitionKeys
from ledger.operations import Admission
from ledger.script_arguments import admission_text

MAX_FORMS: Final = 1024
_STAND_IN: Final = "\0"
"""Of a user id, which has printable characters only."""

Words = Callable[[Admission], tuple[Any, ...]]


class LoneAdmissions:
    """Remembers, for one partition, the shared parts of commands; bounded, emptied when full.

    `words` tells those of the whole command of an admission of this partition that is alone in its run.
    """

    def __init__(self, keys: PartitionKeys, words: Words) -> None:
        self._keys = keys
        self._words = words
        self._forms: dict[tuple[Any, ...], tuple[str, list[str]]] = {}

    def pack(self, admission: Admission) -> bytes:
        """Return the packed command."""
        user_id, plan = admission.user_id, admission.plan
        text = admission_text(admission, 1, 1)
        if not plan.is_shared or not text.isascii():
            # A plan of one user's own is soon forgotten; other texts have more bytes than characters.
            return pack(self._words(admission))
        key = (
            plan,
            admission.operation,
            admission.ttl_ms,
            admission.group,
            admission.model,
            admission.price_version,
            len(user_id),
        )
        form = self._forms.get(key)
        return self._learn(key, admission, text) if form is None else self._fill(form, admission, text)

    def _fill(self, form: tuple[str, list[str]], admission: Admission, text: str) -> bytes:
        head, parts = form
        request_key = self._keys.request(admission.user_id, admission.request_id)
        return (
            f"{head}{len(request_key)}\r\n{request_key}{admission.user_id.join(parts)}{len(text)}\r\n{text}\r\n"
        ).encode()

    def _learn(self, key: tuple[Any, ...], admission: Admission, text: str) -> bytes:
        """Pack in the general way, and remember the form if it gives the very same bytes."""
        packed, form = pack(self._words(admission)), self._form(admission)
        if self._fill(form, admission, text) == packed:
            if len(self._forms) >= MAX_FORMS:
                self._forms.clear()
            self._forms[key] = form
        return packed

    def _form(self, admission: Admission) -> tuple[str, list[str]]:
        """Return what stands before the length of the request's key, and what stands between user ids after it."""
        user_id = _STAND_IN * len(admission.user_id)
        words = self._words(replace(admission, user_id=user_id))
        head, _, rest = pack(words).decode().partition(_word(self._keys.request(user_id, admission.request_id)))
        parts = f"\r\n{rest.removesuffix(_word(words[-1]))}$".split(user_id)
        return f"{head}$", parts


def pack(words: tuple[Any, ...]) -> bytes:
    """Return a command as it is sent."""
    packed: bytes = hiredis.pack_command(words)
    return packed


def _word(word: str) -> str:
    return f"${len(word.encode())}\r\n{word}\r\n"
