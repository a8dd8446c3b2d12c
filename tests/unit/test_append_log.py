"""The append log: synced in groups off the event loop, bounded, and a disk that is full is told to who waits."""

import asyncio
import contextlib
import os
import resource
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecar import log_segments
from sidecar.append_log import AppendLog, LogLimits, LogUnavailable
from sidecar.log_frames import MAX_ENTRY_BYTES
from sidecar.log_segments import list_segments, read_entries, read_state

Checkpoint = Callable[[], list[bytes]]


@contextlib.asynccontextmanager
async def open_log(directory: Path, checkpoint: Checkpoint = list, **limits: Any) -> AsyncIterator[AppendLog]:
    """Open a log as its owner does, and close it."""
    state = read_state(directory)
    log = AppendLog(directory, limits=LogLimits(**limits), checkpoint=checkpoint)
    await log.start(state.next_number)
    try:
        yield log
    finally:
        await log.close()


@contextlib.contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Let no file of this process grow past `size`: the kernel writes what fits, and then nothing."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def entries_of(directory: Path) -> list[object]:
    """Return everything that stands in a log."""
    return list(read_entries(directory))


async def test_an_entry_is_on_disk_when_append_returns(tmp_path: Path) -> None:
    """Nothing was closed or flushed by hand."""
    async with open_log(tmp_path) as log:
        await log.append(b"one")
        await log.append(b"two")
        assert [b"one", b"two"] == entries_of(tmp_path)


async def test_an_entry_in_the_background_follows(tmp_path: Path) -> None:
    """Also without anybody who waits; what makes an entry is called off the loop."""
    made_by: list[int] = []

    def make() -> bytes:
        made_by.append(threading.get_ident())
        return b"made"

    async with open_log(tmp_path, flush_interval_s=0.01) as log:
        log.write(b"written")
        log.write(make)
        async with asyncio.timeout(60):
            while len(entries_of(tmp_path)) < 2:  # noqa: ASYNC110 - a file sends no event
                await asyncio.sleep(0.01)
    assert [b"written", b"made"] == entries_of(tmp_path)
    assert threading.get_ident() not in made_by


async def test_those_who_wait_together_share_a_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred appends at once need a few syncs, not a hundred."""
    syncs: list[int] = []
    sync = os.fdatasync
    monkeypatch.setattr(log_segments.os, "fdatasync", lambda file: (syncs.append(file), sync(file)))
    async with open_log(tmp_path) as log:
        syncs.clear()
        await asyncio.gather(*[log.append(b"%d" % number) for number in range(100)])
        assert len(syncs) <= 2
    assert 100 == len(entries_of(tmp_path))


async def test_a_slow_disk_does_not_hold_up_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sync does not return before the loop has run: on the loop this would never end."""
    looped = threading.Event()
    sync = os.fdatasync
    async with open_log(tmp_path) as log:
        monkeypatch.setattr(log_segments.os, "fdatasync", lambda file: (looped.wait(60), sync(file)))
        appending = asyncio.ensure_future(log.append(b"slow"))
        await asyncio.sleep(0.05)
        assert not appending.done()
        looped.set()
        await appending


async def test_a_full_disk_is_told_and_leaves_nothing_of_what_failed(tmp_path: Path) -> None:
    """The kernel writes half an entry; it is cut off again, the owner takes its change back, and later it works."""
    undone: list[str] = []
    async with open_log(tmp_path) as log:
        await log.append(b"before")
        with full_disk(list_segments(tmp_path)[0].path.stat().st_size + 60):
            with pytest.raises(LogUnavailable):
                await log.append(b"x" * 200, undo=lambda: undone.append("x"))
            assert log.is_failing
            assert ["x"] == undone
            assert [b"before"] == entries_of(tmp_path)
        await log.append(b"after")
        assert not log.is_failing
    assert [b"before", b"after"] == entries_of(tmp_path)


async def test_what_nobody_waits_for_is_written_once_the_disk_has_room(tmp_path: Path) -> None:
    """And it is there once."""
    async with open_log(tmp_path) as log:
        with full_disk(40):
            log.write(b"x" * 200)
            await log.flush()
            assert log.is_failing
        await log.flush()
    assert [b"x" * 200] == entries_of(tmp_path)
    assert 1 == log.counts.failures


async def test_what_waits_for_a_full_disk_is_bounded(tmp_path: Path) -> None:
    """The oldest are dropped, and counted."""
    async with open_log(tmp_path, max_waiting=3) as log:
        with full_disk(40):
            for number in range(5):
                log.write(b"%d" % number * 50)
                await log.flush()
        assert 2 == log.counts.dropped_entries
    assert [b"%d" % number * 50 for number in (2, 3, 4)] == entries_of(tmp_path)


async def test_files_end_when_they_are_full_and_begin_with_the_state(tmp_path: Path) -> None:
    """An owner that counts finds its count again from the newest file alone."""
    seen: list[bytes] = []

    async with open_log(tmp_path, lambda: [b"%d" % len(seen)], segment_bytes=300) as log:
        for number in range(40):
            seen.append(b"x" * 20)
            await log.append(seen[-1], undo=seen.pop)
            state = read_state(tmp_path)
            assert number + 1 == int(state.checkpoint[0]) + len(state.entries)
    assert len(list_segments(tmp_path)) > 3
    assert 40 == len(entries_of(tmp_path))


async def test_a_log_that_is_full_gives_up_its_oldest_history(tmp_path: Path) -> None:
    """It stays within its bound, keeps the state, and counts what it gave up."""
    async with open_log(tmp_path, lambda: [b"state"], segment_bytes=500, max_bytes=2000) as log:
        for number in range(200):
            await log.append(b"%03d" % number * 10)
            assert sum(segment.path.stat().st_size for segment in list_segments(tmp_path)) <= 2000
        assert log.counts.dropped_files > 3
    assert [b"state"] == read_state(tmp_path).checkpoint
    assert b"199" * 10 == entries_of(tmp_path)[-1]


async def test_a_state_beyond_the_bound_is_an_error_that_is_told(tmp_path: Path) -> None:
    """Nothing that counts is ever given up for room."""
    state: list[bytes] = []
    async with open_log(tmp_path, lambda: state, max_bytes=2000) as log:

        async def fill() -> None:
            for _ in range(100):
                state.append(b"x" * 60)
                await log.append(state[-1], undo=state.pop)

        with pytest.raises(LogUnavailable):
            await fill()
        assert len(state) > 10
        kept = read_state(tmp_path)
        assert state == kept.checkpoint + kept.entries


async def test_history_is_kept_as_long_as_it_must_be(tmp_path: Path) -> None:
    """Files past their time go when a new one begins."""
    for keep_s, files in ((3600.0, 6), (0.0, 2)):
        for _ in range(5):
            async with open_log(tmp_path, keep_s=keep_s) as log:
                await log.append(b"entry")
        async with open_log(tmp_path, keep_s=keep_s):
            assert files == len(list_segments(tmp_path))


async def test_a_log_goes_on_where_it_ended(tmp_path: Path) -> None:
    """Numbers never come twice, so nothing is taken for a repetition."""
    for number in range(5):
        async with open_log(tmp_path) as log:
            await log.append(b"%d" % number)
    assert [b"%d" % number for number in range(5)] == entries_of(tmp_path)


async def test_a_log_that_cannot_begin_is_tried_again(tmp_path: Path) -> None:
    """The directory's place is taken by a file, then it is free."""
    (tmp_path / "log").write_text("in the way")
    log = AppendLog(tmp_path / "log")
    await log.start(1)
    assert log.is_failing
    (tmp_path / "log").unlink()
    await log.append(b"one")
    await log.close()
    assert [b"one"] == entries_of(tmp_path / "log")


async def test_a_caller_who_gives_up_leaves_the_others_alone(tmp_path: Path) -> None:
    """Its entry is written all the same."""
    async with open_log(tmp_path) as log:
        appending = [asyncio.ensure_future(log.append(b"%d" % number)) for number in range(3)]
        await asyncio.sleep(0)
        appending[1].cancel()
        await asyncio.gather(*appending, return_exceptions=True)
        await log.flush()
    assert [b"0", b"1", b"2"] == entries_of(tmp_path)


async def test_an_entry_that_is_too_long_is_refused(tmp_path: Path) -> None:
    """At the call if it is there already, else it is dropped and counted; the log goes on."""
    too_long = b"x" * (MAX_ENTRY_BYTES + 1)
    async with open_log(tmp_path) as log:
        with pytest.raises(ValueError, match="longer than"):
            await log.append(too_long)
        log.write(lambda: too_long)
        await log.append(b"x" * MAX_ENTRY_BYTES)
        assert 1 == log.counts.dropped_entries
    assert [b"x" * MAX_ENTRY_BYTES] == entries_of(tmp_path)


async def test_a_state_that_is_larger_than_a_file_is_not_written_with_every_entry(tmp_path: Path) -> None:
    """Each file takes as much again as its checkpoint; catches a disk that is busy with nothing else."""
    state = [b"s" * 1000] * 20
    async with open_log(tmp_path, checkpoint=lambda: state, segment_bytes=1000, keep_s=3600.0) as log:
        for _ in range(15):
            await log.append(b"e" * 1000)
        assert 1 == len(list_segments(tmp_path))
        for _ in range(10):
            await log.append(b"e" * 1000)
        assert 2 == len(list_segments(tmp_path))
