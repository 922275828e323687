"""``freshlens backfill`` as it is called wrongly, and what it says at the end."""

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from freshlens.backfill.dates import DumpDate
from freshlens.backfill.dump import Dump
from freshlens.backfill.job import Job
from freshlens.backfill.journal import open_journal
from freshlens.backfill.pipeline import Task, load, ray_folder, tasks_of
from freshlens.backfill.rows import Done, Loaded, Slice
from freshlens.cli.backfill import Tally, backfill_command, named
from freshlens.cli.context import Context
from schemas.embeddings import Space
from schemas.errors import SettingsError
from schemas.lane import Lane
from schemas.layout import Layout
from schemas.versions import VersionKind
from streams.settings import StreamsSettings
from topics.settings import KafkaSettings


def test_reconcile_without_a_date_is_wrong_usage(tmp_path: Path) -> None:
    done = CliRunner().invoke(backfill_command, ["a.parquet", "--reconcile"], obj=Context(tmp_path, "shop", {}))
    assert done.exit_code == 2
    assert "--as-of" in done.output


def job(data: Path) -> Job:
    lane = Lane("main", Space("colour-1", 4), Layout())
    settings = StreamsSettings(KafkaSettings("127.0.0.1:1"), lane, data, str(data))
    return Job(Dump((), "file", ""), "shop", settings, DumpDate(VersionKind.MICROSECONDS), "", 0)


def test_without_ray_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingsError, match=r"pip install 'freshlens\[server,backfill\]'"):
        list(load(job(tmp_path), [Task(Slice(0, "", 0, 1, 1, 1, 1), [])]))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999"])
def test_a_cluster_that_does_not_answer_is_said_at_once(tmp_path: Path, address: str) -> None:
    with pytest.raises(SettingsError, match=f"Ray cannot be reached at {address}") as refused:
        list(load(job(tmp_path), [Task(Slice(0, "", 0, 1, 1, 1, 1), [])], address=address))
    assert refused.value.code == "settings"
    assert not list((tmp_path / "tmp").iterdir())


def test_a_ray_that_does_not_start_is_said_without_a_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(**_: object) -> None:
        raise Exception("The current node timed out during startup")

    monkeypatch.setattr("ray.init", late)
    with pytest.raises(SettingsError, match="Ray cannot be reached at this machine: The current node timed out"):
        list(load(job(tmp_path), [Task(Slice(0, "", 0, 1, 1, 1, 1), [])]))


def test_slices_that_are_done_are_not_read_again(tmp_path: Path) -> None:
    slices = [Slice(0, "a", 0, 1, 1, 10, 10), Slice(0, "a", 1, 2, 11, 20, 10), Slice(1, "b", 0, -1, 1, 12, 10)]
    with open_journal(tmp_path, "x") as journal:
        journal.add(Done(0, tuple(Loaded(number, "indexed") for number in range(1, 14))))
        journal.add(Done(1, tuple(Loaded(number, "indexed") for number in range(3, 13))))
        assert tasks_of(slices, journal) == [Task(slices[1], [(11, 13)])]


def test_the_summary_counts_rows_by_outcome_and_code() -> None:
    tally = Tally()
    tally.outcomes.update({"indexed": 4, "refused": 1})  # what an earlier run left in the journal
    tally.add("a.jsonl", [Loaded(1, "indexed", "p1"), Loaded(2, "refused", "p2", "undecodable-image", "no picture")], 3)
    tally.add("a.jsonl", [Loaded(3, "retry", "p3")])
    assert dict(named(tally, dry_run=False)) == {
        "indexed": 5,
        "waiting for pictures": 1,
        "refused: undecodable-image": 1,
        "refused: before it was stopped": 1,
        "embedded by the model": 3,
    }
    assert tally.complaints == ["a.jsonl:2 (p2): undecodable-image: no picture"]


def test_rays_folder_is_short_and_goes_with_the_run_or_with_the_next_one(tmp_path: Path) -> None:
    data = tmp_path / ("long" * 12)
    with ray_folder(data) as folder:
        assert len(str(folder)) < 60
        (folder / "session").mkdir()
        (entry,) = (data / "tmp").iterdir()
        assert entry.resolve() == folder
    assert not folder.exists()
    assert not list((data / "tmp").iterdir())
    left = tmp_path / "left"
    left.mkdir()
    (data / "tmp" / "ray-999999999").symlink_to(left)
    (data / "tmp" / "ray-999999998").mkdir()
    with ray_folder(data):
        assert len(list((data / "tmp").iterdir())) == 1
    assert not left.exists()
