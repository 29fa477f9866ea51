"""The archive: every subnet is scored once, whatever happens to the process."""

from __future__ import annotations

import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import optuna
import pandas as pd
import pytest
from optuna.exceptions import StorageInternalError
from optuna.storages import get_storage
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError

import search.storage
from factory_base.errors import FactoryError
from search.archive import Archive
from search.scored import Scored
from search.storage import open_storage
from supernet.space import Choice, SearchSpace

SMALL = SearchSpace(
    (
        Choice(name="depth", options=(1, 2)),
        Choice(name="kernel", options=(3, 5, 7)),
        Choice(name="expand", options=(1.5, 4.0), depth_choice="depth", exists_from=2),
    )
)


Storage = type(get_storage("sqlite://"))
"""The class of the storages that an archive uses."""


class Judge:
    """Gives results that depend on the subnet and the image, and remembers what it was asked for."""

    def __init__(self, stop_at: int = 0) -> None:
        self.seen: list = []
        self._stop_at = stop_at

    def __call__(self, subnet, rows: range) -> list[bool]:
        if len(self.seen) + 1 == self._stop_at:
            raise KeyboardInterrupt
        self.seen.append((subnet, rows))
        return truth(subnet)[rows.start : rows.stop]


def truth(subnet) -> list[bool]:
    """The results for 40 images."""
    rng = random.Random(subnet.id)
    return [rng.random() < 0.7 for _ in range(40)]


def halves(_: object, rows: range) -> list[bool]:
    """Every second image is correct."""
    return [image % 2 == 0 for image in rows]


@pytest.fixture(scope="module")
def empty_storage(tmp_path_factory) -> Path:
    """A storage without studies. To make its tables takes most of the time of a test."""
    path = tmp_path_factory.mktemp("empty") / "study.db"
    open_storage(path)
    return path


@pytest.fixture
def storage(empty_storage: Path, tmp_path: Path) -> Path:
    return shutil.copy(empty_storage, tmp_path / "study.db")


def subnets(count: int = 6):
    rng = random.Random(0)
    return list(dict.fromkeys(SMALL.sample(rng) for _ in range(100)))[:count]


def test_every_subnet_is_scored_once_and_in_order(storage: Path) -> None:
    archive, judge = Archive(storage, "study", SMALL), Judge()
    first, again = subnets(4), [*subnets(6), *subnets(2)]
    archive.score(first, 40, judge, "shared")
    scored = archive.score(again, 40, judge, "target")
    assert judge.seen == [(subnet, range(40)) for subnet in subnets(6)]
    assert scored == [Scored.of(subnet, truth(subnet)) for subnet in again]


def test_scores_survive_the_process_to_the_bit(storage: Path) -> None:
    scored = Archive(storage, "study", SMALL).score(subnets(), 33, Judge(), "shared")
    judge, reopened = Judge(), Archive(storage, "study", SMALL)
    assert reopened.scored() == {s.subnet: s for s in scored}
    assert reopened.score(subnets(), 33, judge, "shared") == scored
    assert judge.seen == []


def test_only_images_that_are_not_known_yet_are_evaluated(storage: Path) -> None:
    archive, judge = Archive(storage, "study", SMALL), Judge()
    (subnet,) = subnets(1)
    for images in (10, 25, 17, 40):
        assert archive.score([subnet], images, judge, "shared") == [Scored.of(subnet, truth(subnet)[:images])]
    assert [rows for _, rows in judge.seen] == [range(10), range(10, 25), range(25, 40)]
    assert archive.scored() == {subnet: Scored.of(subnet, truth(subnet))}


def test_what_is_known_about_further_images_changes_no_result(tmp_path: Path) -> None:
    fresh, used = (Archive(tmp_path / name, "study", SMALL) for name in ("fresh.db", "used.db"))
    used.score(subnets(3), 40, Judge(), "another device")
    assert used.score(subnets(), 12, Judge(), "shared") == fresh.score(subnets(), 12, Judge(), "shared")


def test_another_process_waits_for_an_image_that_is_being_evaluated(storage: Path) -> None:
    ours, theirs = (Archive(storage, "study", SMALL, patience=60.0) for _ in range(2))
    (subnet,), begun, judge = subnets(1), threading.Event(), Judge()

    def slow(_: object, rows: range) -> list[bool]:
        begun.set()
        time.sleep(0.5)
        return halves(subnet, rows)

    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(ours.score, [subnet], 8, slow, "ours")
        begun.wait()
        assert theirs.score([subnet], 6, judge, "theirs") == [Scored.of(subnet, [True, False] * 3)]
        assert found.result() == [Scored.of(subnet, [True, False] * 4)]
    assert judge.seen == []


def test_results_after_a_gap_are_evaluated_again(storage: Path) -> None:
    archive, judge = Archive(storage, "study", SMALL), Judge()
    (subnet,) = subnets(1)
    archive.score([subnet], 10, judge, "shared")
    archive.score([subnet], 20, judge, "shared")
    with closing(sqlite3.connect(storage)) as database, database:
        database.execute("UPDATE trials SET state = 'FAIL' WHERE number = 0")
    reopened = Archive(storage, "study", SMALL)
    assert reopened.scored() == {}
    assert reopened.score([subnet], 20, judge, "shared") == [Scored.of(subnet, truth(subnet)[:20])]
    assert [rows for _, rows in judge.seen] == [range(10), range(10, 20), range(20)]


def test_variants_of_a_subnet_are_scored_apart(storage: Path) -> None:
    fp32, int8 = (Archive(storage, "study", SMALL, variant) for variant in ("fp32", "int8"))
    (subnet,) = subnets(1)
    exact = fp32.score([subnet], 10, Judge(), "shared")
    assert int8.scored() == {}
    assert int8.score([subnet], 10, halves, "shared") == [Scored.of(subnet, [True, False] * 5, "int8")]
    assert list(fp32.scored().values()) == exact


def test_an_accuracy_of_zero_is_an_accuracy(storage: Path) -> None:
    archive = Archive(storage, "study", SMALL)
    assert archive.score(subnets(1), 3, lambda _, rows: [False] * len(rows), "shared")[0].accuracy == 0.0
    assert archive.scored() == {subnets(1)[0]: Scored.of(subnets(1)[0], [False] * 3)}


def test_studies_do_not_see_each_other(storage: Path) -> None:
    Archive(storage, "one checkpoint", SMALL).score(subnets(), 10, Judge(), "shared")
    assert Archive(storage, "another checkpoint", SMALL).scored() == {}


def test_an_interrupted_study_loses_one_subnet_and_goes_on(storage: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        Archive(storage, "study", SMALL).score(subnets(), 40, Judge(stop_at=4), "shared")
    reopened, judge = Archive(storage, "study", SMALL), Judge()
    assert list(reopened.scored()) == subnets(3)
    scored = reopened.score(subnets(), 40, judge, "shared")
    assert [subnet for subnet, _ in judge.seen] == subnets()[3:]
    assert scored == [Scored.of(subnet, truth(subnet)) for subnet in subnets()]


def test_a_killed_process_does_not_hinder_the_next(storage: Path) -> None:
    code = (
        "import os, signal, sys; from search.archive import Archive; from pathlib import Path;"
        "sys.path.append(sys.argv[2]); from test_archive import SMALL, subnets\n"
        "judge = lambda subnet, rows: [True] if subnet == subnets()[0] else os.kill(os.getpid(), signal.SIGKILL)\n"
        "Archive(Path(sys.argv[1]), 'study', SMALL).score(subnets(), 1, judge, 'shared')"
    )
    command = [sys.executable, "-c", code, storage, str(Path(__file__).parent)]
    assert subprocess.run(command, capture_output=True).returncode < 0
    archive = Archive(storage, "study", SMALL, alone=True)
    assert archive.scored() == {subnets()[0]: Scored.of(subnets()[0], [True])}
    assert len(archive.score(subnets(), 1, Judge(), "shared")) == 6


def test_trials_that_others_left_unfinished_are_never_mistaken_for_ours(storage: Path) -> None:
    archive = Archive(storage, "study", SMALL)
    others = optuna.load_study(study_name="study", storage=f"sqlite:///{storage}")
    others.enqueue_trial(subnets()[5].to_dict())
    others.ask()
    others.enqueue_trial(subnets()[4].to_dict())
    archive.score(subnets(2), 40, Judge(), "shared")
    reopened = Archive(storage, "study", SMALL)
    assert reopened.scored() == {subnet: Scored.of(subnet, truth(subnet)) for subnet in subnets(2)}


def test_the_table_has_a_column_per_choice(storage: Path, tmp_path: Path) -> None:
    archive = Archive(storage, "study", SMALL)
    archive.score(subnets(2), 2, halves, "shared")
    archive.score(subnets(3), 4, halves, "midrange")
    archive.write_table(tmp_path / "out" / "archive.parquet")
    table = pd.read_parquet(tmp_path / "out" / "archive.parquet")
    columns = ["subnet_id", "variant", "images", "accuracy", "purpose", "correct", "depth", "kernel", "expand"]
    assert list(table.columns) == columns
    assert list(table["subnet_id"]) == [subnet.id for subnet in subnets(3)]
    assert list(table["purpose"]) == ["shared", "shared", "midrange"]
    assert list(table["images"]) == [4, 4, 4]
    assert list(table["accuracy"]) == [0.5, 0.5, 0.5]
    assert list(table["correct"]) == ["a", "a", "a"]
    assert list(table["kernel"]) == [subnet["kernel"] for subnet in subnets(3)]


def test_progress_is_reported_after_each_subnet(storage: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    archive = Archive(storage, "study", SMALL)
    archive.score(subnets(2), 2, halves, "shared", lambda *event: seen.append(event))
    assert seen == [(1, 2, "50.0% held-out"), (2, 2, "50.0% held-out")]


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("nonsense", "Could not parse"),
        ("nosuchdb://host/x", "nosuchdb"),
        ("postgresql+nosuchdriver://host/x", "nosuchdriver"),
        ("sqlite:////no/such/folder/study.db", "unable to open database file"),
        ("postgresql://host:port/x", "invalid literal"),
        ("sqlite:///{name}.db", "name"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_named_in_one_line(url: str, reason: str) -> None:
    with pytest.raises(FactoryError, match=f"search storage '{re.escape(url)}' cannot be used: .*{reason}") as caught:
        Archive(url, "study", SMALL)
    assert "\n" not in str(caught.value)
    assert "search section" in str(caught.value)


def test_any_name_of_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "a b{x}%20%(y)s?z=1#é日&;[q]'"
    folder.mkdir()
    scored = Archive(folder / "study.db", "study", SMALL).score(subnets(1), 2, halves, "shared")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [folder / "study.db"]
    assert list(Archive(folder / "study.db", "study", SMALL).scored().values()) == scored


def test_a_storage_may_also_be_a_url(storage: Path) -> None:
    scored = Archive(f"sqlite:///{storage}", "study", SMALL).score(subnets(1), 2, halves, "shared")
    assert list(Archive(storage, "study", SMALL).scored().values()) == scored


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (
            "UPDATE trial_values SET value = 7",
            "trial 0 of study 'study' has accuracy 7.0, but its images give 0.5; delete the file",
        ),
        (
            "UPDATE trial_user_attributes SET value_json = '\"f\"' WHERE key = 'correct'",
            "trial 0 of study 'study' does not hold one result for each of its images; delete the file",
        ),
        (
            "DELETE FROM trial_user_attributes WHERE key = 'start'",
            "trial 0 of study 'study' does not hold one result for each of its images; delete the file",
        ),
        (
            "UPDATE trial_params SET param_name = 'width' WHERE param_name = 'depth'",
            "trial 0 of study 'study' is not a subnet of this model space",
        ),
    ],
)
def test_a_trial_that_somebody_changed_is_named_and_not_used(storage: Path, statement: str, words: str) -> None:
    Archive(storage, "study", SMALL).score(subnets(1), 2, halves, "shared")
    with closing(sqlite3.connect(storage)) as database, database:
        database.execute(statement)
    with pytest.raises(FactoryError, match=re.escape(f"study.db: {words}")):
        Archive(storage, "study", SMALL).scored()


def test_a_storage_that_is_not_a_regular_file_is_refused_without_waiting_for_it(storage: Path) -> None:
    storage.unlink()
    os.mkfifo(storage)
    with pytest.raises(FactoryError, match=r"study.db cannot be used: not a regular file; move the file away"):
        Archive(storage, "study", SMALL)


def test_a_missing_database_driver_is_a_storage_error(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    with pytest.raises(
        FactoryError, match=r"'postgresql[+]psycopg2://\*\*\*@host/x' cannot be used: .*psycopg2"
    ) as caught:
        Archive("postgresql+psycopg2://me:secret@host/x", "study", SMALL)
    assert "secret" not in str(caught.value)


def test_a_storage_of_another_version_of_optuna_is_a_storage_error(storage: Path, tmp_path: Path) -> None:
    Archive(storage, "study", SMALL)
    with sqlite3.connect(tmp_path / "study.db") as database:
        database.execute("UPDATE version_info SET schema_version = 1")
        database.execute("UPDATE alembic_version SET version_num = 'v0.9.0.a'")
    database.close()
    with pytest.raises(FactoryError, match=r"cannot be used: .*no longer compatible"):
        Archive(storage, "study", SMALL)


def test_a_damaged_storage_is_named_in_one_line(storage: Path, tmp_path: Path) -> None:
    (tmp_path / "study.db").write_bytes(b"no database" * 100)
    with pytest.raises(FactoryError, match=r"cannot be used: .*not a database"):
        Archive(storage, "study", SMALL)


def test_a_storage_that_breaks_later_is_named_too(storage: Path, tmp_path: Path) -> None:
    archive = Archive(storage, "study", SMALL)
    archive.score(subnets(1), 2, Judge(), "shared")
    (tmp_path / "study.db").write_bytes(b"no database" * 100)
    with pytest.raises(FactoryError, match=r"search storage .* cannot be used"):
        archive.score(subnets(3), 2, Judge(), "shared")


@pytest.fixture
def in_memory() -> Archive:
    """An archive in memory."""
    return Archive("sqlite://", "study", SMALL, sleep=lambda _: None)


@pytest.mark.parametrize("error", [OSError("disk"), StorageInternalError("commit"), SQLAlchemyError("other database")])
def test_an_error_of_the_scoring_function_passes_through(in_memory: Archive, error: Exception) -> None:
    def evaluate(*_: object) -> list[bool]:
        raise error

    with pytest.raises(type(error)) as caught:
        in_memory.score(subnets(1), 2, evaluate, "shared")
    assert caught.value is error


@pytest.fixture
def away(storage: Path):
    """`away(times)` takes the storage away, and returns what waits: after so many waits it brings the storage back."""

    def take(times: int):
        waits: list[float] = []

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == times:
                hidden.rename(storage)

        return waits, sleep

    hidden = storage.with_name("hidden.db")
    return take


@pytest.mark.parametrize("times", [1, 3])
def test_a_storage_that_goes_away_and_comes_back_loses_nothing(storage: Path, away, times: int) -> None:
    waits, sleep = away(times)
    archive = Archive(storage, "study", SMALL, sleep=sleep)

    def evaluate(subnet, rows: range) -> list[bool]:
        if subnet == subnets()[2]:
            storage.rename(storage.with_name("hidden.db"))
        return truth(subnet)[rows.start : rows.stop]

    scored = archive.score(subnets(), 40, evaluate, "shared")
    assert scored == [Scored.of(subnet, truth(subnet)) for subnet in subnets()]
    assert len(waits) == times
    assert Archive(storage, "study", SMALL).scored() == {s.subnet: s for s in scored}


@pytest.mark.parametrize(
    ("then", "reason"),
    [
        (lambda _: None, "No such file or directory"),
        (lambda storage: storage.write_bytes(b""), "another file has taken its place"),
    ],
)
def test_a_storage_that_stays_away_is_named_and_what_was_written_is_kept(storage: Path, away, then, reason) -> None:
    waits, sleep = away(0)
    archive, hidden = Archive(storage, "study", SMALL, sleep=sleep), storage.with_name("hidden.db")

    def evaluate(subnet, rows: range) -> list[bool]:
        if subnet == subnets()[2]:
            storage.rename(hidden)
            then(storage)
        return truth(subnet)[rows.start : rows.stop]

    with pytest.raises(FactoryError, match=f"search storage .*study.db cannot be used: .*{reason}") as caught:
        archive.score(subnets(), 40, evaluate, "shared")
    assert len(caught.value.lines()) == 1
    assert waits == sorted(waits)
    assert 10 < sum(waits) < 30
    assert list(Archive(hidden, "study", SMALL).scored()) == subnets(2)


def test_a_database_that_is_busy_for_a_while_is_asked_again(storage: Path, monkeypatch) -> None:
    waits: list[float] = []
    archive, add, busy = Archive(storage, "study", SMALL, sleep=waits.append), Storage.create_new_trial, [2]

    def sometimes(*arguments, **named) -> int:
        if busy[0] > 0:
            busy[0] -= 1
            raise StorageInternalError from OperationalError("INSERT", None, sqlite3.OperationalError("locked"))
        return add(*arguments, **named)

    monkeypatch.setattr(Storage, "create_new_trial", sometimes)
    assert archive.score(subnets(2), 40, Judge(), "shared") == [Scored.of(s, truth(s)) for s in subnets(2)]
    assert len(waits) == 2


@pytest.mark.parametrize(
    "error",
    [
        IntegrityError("INSERT", None, Exception("UNIQUE constraint failed: alembic_version.version_num")),
        OperationalError("CREATE TABLE", None, Exception("table studies already exists")),
    ],
)
def test_two_processes_may_make_a_storage_at_the_same_time(storage: Path, monkeypatch, error: Exception) -> None:
    make, waits = search.storage._sqlite, []

    def second(path: Path) -> object:
        if not waits:
            raise error
        return make(path)

    monkeypatch.setattr("search.storage._sqlite", second)
    assert Archive(storage, "study", SMALL, sleep=waits.append).scored() == {}
    assert len(waits) == 1


def test_a_study_that_somebody_deletes_is_named(storage: Path) -> None:
    archive = Archive(storage, "study", SMALL)

    def evaluate(subnet, rows: range) -> list[bool]:
        if subnet == subnets()[1]:
            optuna.delete_study(study_name="study", storage=f"sqlite:///{storage}")
        return truth(subnet)[rows.start : rows.stop]

    with pytest.raises(FactoryError, match="study 'study' was deleted; run the command again"):
        archive.score(subnets(2), 2, evaluate, "shared")


def test_a_study_of_another_space_is_refused(storage: Path) -> None:
    Archive(storage, "study", SMALL)
    other = SearchSpace((Choice(name="depth", options=(1, 2, 3)), *SMALL.choices[1:]))
    with pytest.raises(FactoryError, match="study 'study' belongs to another model space or program; use another"):
        Archive(storage, "study", other)


@pytest.mark.parametrize("directions", [["maximize"], ["maximize", "minimize"], ["minimize"]])
def test_a_study_of_another_program_is_refused(storage: Path, directions: list[str]) -> None:
    theirs = optuna.create_study(storage=f"sqlite:///{storage}", study_name="study", directions=directions)
    theirs.add_trial(optuna.trial.create_trial(values=[0.5] * len(directions)))
    with pytest.raises(FactoryError, match="belongs to another model space or program"):
        Archive(storage, "study", SMALL)


def test_an_empty_archive_has_no_scores_and_an_empty_table(storage: Path, tmp_path: Path) -> None:
    archive = Archive(storage, "study", SMALL)
    assert archive.scored() == {}
    assert archive.score([], 10, halves, "shared") == []
    archive.write_table(tmp_path / "archive.parquet")
    assert len(pd.read_parquet(tmp_path / "archive.parquet")) == 0


def failing(error: type[Exception]):
    def call(*_: object, **__: object) -> None:
        raise error("connection lost")

    return call


@pytest.mark.parametrize("error", [OSError, ImportError, StorageInternalError, SQLAlchemyError])
@pytest.mark.parametrize("call", ["get_all_trials", "create_new_trial", "set_trial_state_values"])
def test_what_storages_raise_is_a_storage_error(monkeypatch, in_memory: Archive, call: str, error) -> None:
    monkeypatch.setattr(Storage, call, failing(error))
    with pytest.raises(FactoryError, match="cannot be used: connection lost"):
        in_memory.score(subnets(1), 2, Judge(), "shared")


@pytest.mark.parametrize("error", [ValueError, RuntimeError, TypeError])
@pytest.mark.parametrize("call", ["get_all_trials", "create_new_trial", "set_trial_state_values"])
def test_a_bug_in_a_storage_call_passes_through(monkeypatch, in_memory: Archive, call: str, error) -> None:
    monkeypatch.setattr(Storage, call, failing(error))
    with pytest.raises(error, match="connection lost"):
        in_memory.score(subnets(1), 2, Judge(), "shared")


@pytest.mark.parametrize("count", [0, 1, 3])
def test_too_few_or_too_many_results_are_refused(in_memory: Archive, count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} results for 2 images"):
        in_memory.score(subnets(1), 2, lambda *_: [True] * count, "shared")


def test_variants_share_a_study_and_never_each_others_scores(storage: Path, tmp_path: Path) -> None:
    archive, judge = Archive(storage, "study", SMALL), Judge()
    (subnet,) = subnets(1)
    archive.score([subnet], 40, judge, "shared")
    other = archive.of_variant("int8")
    assert other.scored() == {}
    (scored,) = other.score([subnet], 20, halves, "final")
    assert (scored.variant, scored.images, scored.accuracy) == ("int8", 20, 0.5)
    assert archive.scored()[subnet].images == 40
    archive.write_table(tmp_path / "archive.parquet")
    table = pd.read_parquet(tmp_path / "archive.parquet")
    assert list(zip(table["variant"], table["images"], table["purpose"], strict=True)) == [
        ("fp32", 40, "shared"),
        ("int8", 20, "final"),
    ]
