"""Files of an append log: whatever is cut off, flipped or zeroed costs what it hit, is told, and nothing else."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from sidecar.log_frames import FRAME_BYTES, MARKER, Damage, Frame, FrameKind, encode_frame, scan_frames
from sidecar.log_segments import DamagedFile, SegmentWriter, list_segments, read_entries, read_state, remove_unfinished

SALT: Final = 0x5EED5A17
CHECKPOINT: Final = [b"state one", b"state two"]
ENTRIES: Final = [b"", b"a", MARKER, MARKER * 3, b"\x00" * 40, encode_frame(FrameKind.ENTRY, 9, b"inner", 0), b"last"]


def write_file(directory: Path, entries: list[bytes], *, first: int = 1, checkpoint: list[bytes] | None = None) -> Path:
    """Write a file whose checkpoint has the number before `first`, then entries from `first` on."""
    writer = SegmentWriter(directory, checkpoint or [], last_number=first - 1)
    writer.write([writer.frame(number, data) for number, data in enumerate(entries, start=first)])
    writer.close()
    return writer.segment.path


def whole_entries(length: int, start: int) -> list[bytes]:
    """Return the entries whose frames end within `length` bytes when the first begins at `start`."""
    kept, end = [], start
    for data in ENTRIES:
        end += FRAME_BYTES + len(data)
        if end > length:
            break
        kept.append(data)
    return kept


def split(found: Iterator[bytes | DamagedFile]) -> tuple[list[bytes], list[DamagedFile]]:
    """Return entries and damages apart."""
    together = list(found)
    return (
        [each for each in together if isinstance(each, bytes)],
        [each for each in together if isinstance(each, DamagedFile)],
    )


def test_a_cut_at_any_byte_keeps_every_whole_entry_and_tells_the_torn_one(tmp_path: Path) -> None:
    """Power is lost after any number of bytes."""
    path = write_file(tmp_path, ENTRIES)
    body = path.read_bytes()
    start = FRAME_BYTES  # The end of the checkpoint, which is empty.
    ends = {start + sum(FRAME_BYTES + len(each) for each in ENTRIES[:count]) for count in range(len(ENTRIES) + 1)}
    for length in range(len(body) + 1):
        path.write_bytes(body[:length])
        entries, damages = split(read_entries(tmp_path))
        assert whole_entries(length, start) == entries, length
        assert (0 if length in ends or length == 0 else 1) == len(damages), length
        assert all(damage.damage.torn for damage in damages)
        assert entries == read_state(tmp_path).entries


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_a_flipped_byte_costs_the_entry_that_it_hit(tmp_path: Path, mask: int) -> None:
    """Any byte goes bad: marker, kind, length, number, checksum or data."""
    path = write_file(tmp_path, ENTRIES)
    body = path.read_bytes()
    for position in range(FRAME_BYTES, len(body)):
        path.write_bytes(body[:position] + bytes([body[position] ^ mask]) + body[position + 1 :])
        hit = len(whole_entries(position, FRAME_BYTES))
        entries, damages = split(read_entries(tmp_path))
        assert ENTRIES[:hit] + ENTRIES[hit + 1 :] == entries, position
        assert [hit == len(ENTRIES) - 1] == [each.damage.torn for each in damages], position
        assert [FRAME_BYTES + len(ENTRIES[hit])] == [each.damage.length for each in damages]


def test_a_tail_of_zeros_is_a_torn_end(tmp_path: Path) -> None:
    """Some file systems leave the length and not the bytes."""
    path = write_file(tmp_path, [b"one", b"two"])
    path.write_bytes(path.read_bytes()[:-2] + b"\0" * 500)
    entries, damages = split(read_entries(tmp_path))
    assert ([b"one"], [True]) == (entries, [each.damage.torn for each in damages])


def test_a_cut_checkpoint_leaves_the_state_of_the_file_before(tmp_path: Path) -> None:
    """The newest file is cut anywhere in its checkpoint: the older one and what is left of the newest tell."""
    write_file(tmp_path, [b"one", b"two"], checkpoint=[b"nothing yet"])
    path = write_file(tmp_path, [b"three"], first=4, checkpoint=CHECKPOINT)
    body = path.read_bytes()
    end = 3 * FRAME_BYTES + sum(map(len, CHECKPOINT))
    for length in range(end):
        path.write_bytes(body[:length])
        state = read_state(tmp_path)
        assert [b"one", b"two"] == state.entries
        assert b"nothing yet" == state.checkpoint[0]
        assert 4 == state.next_number
    path.write_bytes(body[:end])
    assert (CHECKPOINT, []) == (read_state(tmp_path).checkpoint, read_state(tmp_path).entries)


def test_the_state_is_the_newest_checkpoint_and_what_came_after(tmp_path: Path) -> None:
    """Entries that the checkpoint includes are history: read, but no part of the state."""
    write_file(tmp_path, [b"one", b"two"])
    writer = SegmentWriter(tmp_path, CHECKPOINT, last_number=4)
    writer.write([writer.frame(3, b"three"), writer.frame(5, b"five")])
    writer.close()
    state = read_state(tmp_path)
    assert (CHECKPOINT, [b"five"], 6) == (state.checkpoint, state.entries, state.next_number)
    assert ([b"one", b"two", b"three", b"five"], []) == split(read_entries(tmp_path))


def test_an_entry_that_was_written_twice_is_read_once(tmp_path: Path) -> None:
    """A failed write is repeated in the next file, and may have arrived."""
    write_file(tmp_path, [b"one", b"two"])
    write_file(tmp_path, [b"two", b"three"], first=2)
    assert ([b"one", b"two", b"three"], []) == split(read_entries(tmp_path))


def test_a_frame_within_an_entry_is_no_entry_even_when_its_frame_is_damaged(tmp_path: Path) -> None:
    """A caller writes frames into its meta; without the file's salt they have the wrong checksum."""
    forged = encode_frame(FrameKind.ENTRY, 2, b"forged", 0)
    path = write_file(tmp_path, [b"one", forged, b"three"])
    body = path.read_bytes()
    position = body.index(forged) - 1
    path.write_bytes(body[:position] + bytes([body[position] ^ 1]) + body[position + 1 :])
    assert [b"one", b"three"] == split(read_entries(tmp_path))[0]


def test_random_bytes_hold_no_frame() -> None:
    """Garbage is one damage, however long."""
    body = secrets.token_bytes(20_000)
    assert [Damage(0, len(body), torn=True)] == list(scan_frames(body, SALT))


def test_frames_around_garbage_are_found() -> None:
    """What is damaged in the middle is not torn."""
    first, second = (encode_frame(FrameKind.ENTRY, number, b"data", SALT) for number in (1, 2))
    found = list(scan_frames(first + b"garbage" + MARKER + second, SALT))
    whole = [Frame(FrameKind.ENTRY, number, b"data") for number in (1, 2)]
    assert [whole[0], Damage(len(first), 11, torn=False), whole[1]] == found


def test_a_file_is_not_there_before_its_checkpoint_is_whole(tmp_path: Path) -> None:
    """What a crash leaves of an unfinished file is ignored, and removed at the next start."""
    unfinished = write_file(tmp_path, [b"one"]).with_suffix(".new")
    unfinished.write_bytes(b"half")
    assert 1 == len(list_segments(tmp_path))
    remove_unfinished(tmp_path)
    assert not unfinished.exists()


def test_nobody_else_may_read_a_file(tmp_path: Path) -> None:
    """User ids stand in it."""
    assert 0o600 == write_file(tmp_path, [b"one"]).stat().st_mode & 0o777


def test_there_is_nothing_where_no_log_was(tmp_path: Path) -> None:
    """A directory that does not exist is an empty log."""
    state = read_state(tmp_path / "none")
    assert ([], [], 1) == (state.checkpoint, state.entries, state.next_number)
    assert [] == list(read_entries(tmp_path / "none"))
