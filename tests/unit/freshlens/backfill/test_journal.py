"""The journal of a back-fill: what was noted is known again, whatever end the process took."""

from pathlib import Path

import pytest

from freshlens.backfill.journal import fingerprint_of, open_journal
from freshlens.backfill.rows import Done, Loaded
from schemas.errors import SettingsError


def done(*numbers: int, file: int = 0, outcome: str = "indexed") -> Done:
    return Done(file, tuple(Loaded(number, outcome) for number in numbers), encoded=len(numbers))


def test_what_was_noted_is_known_again(tmp_path: Path) -> None:
    with open_journal(tmp_path, "x") as journal:
        journal.add(done(3, 1, 2))
        journal.add(done(7, file=1, outcome="refused"))
    with open_journal(tmp_path, "x") as journal:
        assert list(journal.rows(0)) == [(1, 3)]
        assert list(journal.rows(1)) == [(7, 7)]
        assert journal.outcomes == {"indexed": 3, "refused": 1}
        assert (journal.done, journal.encoded) == (4, 4)
        journal.remove()
    assert not list(tmp_path.iterdir())


def test_half_a_line_is_passed_over_and_the_next_is_whole(tmp_path: Path) -> None:
    with open_journal(tmp_path, "x") as journal:
        journal.add(done(1))
        journal.add(done(2))
    path = tmp_path / "x.jsonl"
    path.write_bytes(path.read_bytes().rstrip()[:-5])
    with open_journal(tmp_path, "x") as journal:
        assert list(journal.rows(0)) == [(1, 1)]
        journal.add(done(9))
    with open_journal(tmp_path, "x") as journal:
        assert list(journal.rows(0)) == [(1, 1), (9, 9)]


def test_two_processes_do_not_load_the_same_dump(tmp_path: Path) -> None:
    with (
        open_journal(tmp_path, "x"),
        pytest.raises(SettingsError, match="another process") as caught,
        open_journal(tmp_path, "x"),
    ):
        raise AssertionError("both have it")
    assert caught.value.code == "already-running"
    with open_journal(tmp_path, "x"), open_journal(tmp_path, "y"):
        pass


def test_another_dump_is_another_fingerprint() -> None:
    assert fingerprint_of("shop", 1, None) == fingerprint_of("shop", 1, None)
    assert (
        len({fingerprint_of("shop", 1, None), fingerprint_of("shop", 2, None), fingerprint_of("sho", "p1", None)}) == 3
    )
