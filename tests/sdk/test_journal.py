"""The journal: what was written down is there for the next process, whatever happened to the file meanwhile."""

import logging
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from spendgate import _calls, _journal
from spendgate._calls import Call
from spendgate._journal import Journal, directory_for


def _settle(number: int) -> Call:
    return _calls.settle("user-1", f"call-{number}", "0.5", None, reserved_at=datetime(2026, 11, 25, tzinfo=UTC))


def _left_by_another_process(directory: Path, *calls: Call) -> Path:
    """Write calls as a process does that ends without having delivered them; returns its file."""
    journal = Journal(directory)
    for call in calls:
        journal.add(call)
    journal.close()
    return next(directory.iterdir())


def _taken_over(directory: Path) -> list[Call]:
    journal = Journal(directory)
    journal.take_over()
    return journal.waiting()


def test_the_next_process_takes_over_what_was_left(tmp_path: Path) -> None:
    """Records come back with all their fields, and the file of the ended process is gone."""
    left = _left_by_another_process(tmp_path, _settle(1), _settle(2))

    taken = _taken_over(tmp_path)

    assert [_settle(1).fields, _settle(2).fields] == [call.fields for call in taken]
    assert not left.exists()


def test_what_was_delivered_is_not_taken_over(tmp_path: Path) -> None:
    """Of several records only those that still waited come back."""
    journal = Journal(tmp_path)
    for call in (_settle(1), _settle(2)):
        journal.add(call)
    journal.remove(_settle(1))
    journal.close()

    assert ["call-2"] == [call.request_id for call in _taken_over(tmp_path)]


def test_a_file_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    """The lock says that its process still sees to it."""
    living = Journal(tmp_path)
    living.add(_settle(1))

    assert [] == _taken_over(tmp_path)


def test_nothing_stays_behind_when_all_is_delivered(tmp_path: Path) -> None:
    """A journal that did its work leaves no file."""
    journal = Journal(tmp_path)
    journal.add(_settle(1))
    journal.remove(_settle(1))
    journal.close()

    assert [] == list(tmp_path.iterdir())


def test_every_cut_loses_at_most_the_record_that_it_hit(tmp_path: Path) -> None:
    """Wherever the end of the file is torn off, all whole records before it come back."""
    whole = _left_by_another_process(tmp_path / "whole", *map(_settle, range(3))).read_bytes()
    ends = [index + 1 for index, byte in enumerate(whole) if byte == ord("\n")]
    for length in range(len(whole)):
        directory = tmp_path / str(length)
        directory.mkdir()
        (directory / "1-a.journal").write_bytes(whole[:length])

        assert sum(end <= length for end in ends) == len(_taken_over(directory))


def test_a_flipped_bit_loses_one_record_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged line is left out, told in the log, and hides none of the others."""
    path = _left_by_another_process(tmp_path, *map(_settle, range(3)))
    data = bytearray(path.read_bytes())
    data[data.index(b"call-1") + len("call-")] ^= 1  # what it says is still well-formed, and wrong
    path.write_bytes(data)

    taken = _taken_over(tmp_path)

    assert ["call-0", "call-2"] == [call.request_id for call in taken]
    assert "damaged line" in caplog.text


def test_a_full_journal_is_loud_and_keeps_records_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Beyond its bound a record is an error in the log, with everything that is needed to send it by hand."""
    monkeypatch.setattr(_journal, "MAX_FILE_BYTES", 300)
    journal = Journal(tmp_path)
    for number in range(3):
        journal.add(_settle(number))

    assert 3 == len(journal)
    assert [("ERROR", True)] == [
        (record.levelname, "call-2" in record.getMessage() and "cost_usd" in record.getMessage())
        for record in caplog.records
    ]


def test_a_full_journal_drops_what_was_delivered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it says that it is full, it is written anew without what was delivered."""
    monkeypatch.setattr(_journal, "MAX_FILE_BYTES", 1000)
    journal = Journal(tmp_path)
    journal.add(_settle(0))
    for number in range(1, 20):
        journal.add(_settle(number))
        journal.remove(_settle(number))
    journal.close()

    assert (["call-0"], 0) == ([call.request_id for call in _taken_over(tmp_path)], len(list(tmp_path.iterdir())) - 1)


def test_a_directory_that_cannot_be_written_is_told_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody learns during an outage that nothing can be kept."""
    (tmp_path / "file").write_text("in the way")
    journal = Journal(tmp_path / "file" / "journal")

    journal.check()
    journal.add(_settle(1))

    assert ["WARNING", "ERROR"] == [record.levelname for record in caplog.records]
    assert 1 == len(journal)


def test_a_forked_child_leaves_the_parents_records_to_the_parent(tmp_path: Path) -> None:
    """The child begins with nothing, and the parent's lock stays."""
    journal = Journal(tmp_path)
    journal.add(_settle(1))

    child = os.fork()
    if not child:
        journal.after_fork()
        os._exit(len(journal))
    _, status = os.waitpid(child, 0)

    assert (0, 1, []) == (os.waitstatus_to_exitcode(status), len(journal), _taken_over(tmp_path))


def test_each_sidecar_has_a_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No record goes to another sidecar, unless a directory is named."""
    first, second = (directory_for(None, url) for url in ("http://127.0.0.1:1", "http://127.0.0.1:2"))
    monkeypatch.setenv("SPENDGATE_JOURNAL_DIR", "/named")

    assert (True, "spendgate") == (first != second, first.parent.name)
    assert (Path("/named"), tmp_path) == (directory_for(None, "x"), directory_for(tmp_path, "x"))


@pytest.fixture(autouse=True)
def _log_everything(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
