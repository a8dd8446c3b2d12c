"""Frames of an append log: how an entry stands in a file, and how entries are found again after damage.

A frame is a marker, what the entry is, its length, its number, a CRC-32 and the entry. The checksum begins with the
file's salt, so that bytes of another file, or a frame that a caller wrote into an entry, never pass for one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Final
from zlib import crc32

MARKER: Final = b"\xa5SGr"
HEAD: Final = Struct(">4sBIQ")
CHECKSUM: Final = Struct(">I")
FRAME_BYTES: Final = HEAD.size + CHECKSUM.size
MAX_ENTRY_BYTES: Final = 1 << 20


class FrameKind(IntEnum):
    """An entry as it was appended, or one of the checkpoint with which a file begins."""

    ENTRY = 0
    CHECKPOINT = 1
    CHECKPOINT_END = 2


@dataclass(frozen=True, slots=True)
class Frame:
    """One intact frame. An entry's number is its place in the log, a checkpoint's the last one that it includes."""

    kind: FrameKind
    number: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes of a file that are no frame. Torn: at its end, as a crash in the middle of a write leaves it."""

    offset: int
    length: int
    torn: bool


def encode_frame(kind: FrameKind, number: int, data: bytes, salt: int) -> bytes:
    """Return the frame of an entry, which has at most `MAX_ENTRY_BYTES`: a longer one would not be read."""
    head = HEAD.pack(MARKER, kind, len(data), number)
    return b"".join((head, CHECKSUM.pack(crc32(data, crc32(head, salt))), data))


def scan_frames(body: bytes, salt: int) -> Iterator[Frame | Damage]:
    """Yield the frames of a file's bytes in order, and between them what is damaged: it costs no other frame."""
    offset = 0
    while offset < len(body):
        frame = _frame_at(body, offset, salt)
        if frame is not None:
            yield frame
            offset += FRAME_BYTES + len(frame.data)
            continue
        found = _next_frame(body, offset + 1, salt)
        end = len(body) if found is None else found
        yield Damage(offset, end - offset, torn=found is None)
        offset = end


def _frame_at(body: bytes, offset: int, salt: int) -> Frame | None:
    start = offset + FRAME_BYTES
    if start > len(body):
        return None
    marker, kind, length, number = HEAD.unpack_from(body, offset)
    if marker != MARKER or length > MAX_ENTRY_BYTES or start + length > len(body) or kind not in _KINDS:
        return None
    data = body[start : start + length]
    (checksum,) = CHECKSUM.unpack_from(body, offset + HEAD.size)
    if checksum != crc32(data, crc32(body[offset : offset + HEAD.size], salt)):
        return None
    return Frame(_KINDS[kind], number, data)


def _next_frame(body: bytes, start: int, salt: int) -> int | None:
    offset = body.find(MARKER, start)
    while offset >= 0:
        if _frame_at(body, offset, salt) is not None:
            return offset
        offset = body.find(MARKER, offset + 1)
    return None


_KINDS: Final = {int(kind): kind for kind in FrameKind}
