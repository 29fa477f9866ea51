"""The archive: every subnet is scored once, whatever happens to the process."""

from __future__ import annotations

import os
import random
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import optuna
import pandas as pd
import pytest
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from factory_base.errors import FactoryError
from search.archive import Archive
from supernet.space import Choice, SearchSpace

SMALL = SearchSpace(
    (
        Choice(name="depth", options=(1, 2)),
        Choice(name="kernel", options=(3, 5, 7)),
        Choice(name="expand", options=(1.5, 4.0), depth_choice="depth", exists_from=2),
    )
)


class Judge:
    """Scores subnets by their id, and remembers which."""

    def __init__(self, stop_at: int = 0) -> None:
        self.seen: list = []
        self._stop_at = stop_at

    def __call__(self, subnet) -> float:
        if len(self.seen) + 1 == self._stop_at:
            raise KeyboardInterrupt
        self.seen.append(subnet)
        return int(subnet.id, 16) % 1000 / 1000


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return tmp_path / "study.db"


def subnets(count: int = 6):
    rng = random.Random(0)
    return list(dict.fromkeys(SMALL.sample(rng) for _ in range(100)))[:count]


def test_every_subnet_is_scored_once_and_in_order(storage: Path) -> None:
    archive, judge = Archive(storage, "study", SMALL), Judge()
    first, again = subnets(4), [*subnets(6), *subnets(2)]
    archive.score(first, judge, "shared")
    scored = archive.score(again, judge, "target")
    assert judge.seen == subnets(6)
    assert [s.subnet for s in scored] == again
    assert [s.accuracy for s in scored] == [Judge()(subnet) for subnet in again]


def test_scores_survive_the_process_to_the_bit(storage: Path) -> None:
    Archive(storage, "study", SMALL).score(subnets(), lambda _: 1 / 3, "shared")
    judge = Judge()
    reopened = Archive(storage, "study", SMALL)
    assert reopened.scored() == dict.fromkeys(subnets(), 1 / 3)
    reopened.score(subnets(), judge, "shared")
    assert judge.seen == []


def test_an_accuracy_of_zero_is_an_accuracy(storage: Path) -> None:
    archive = Archive(storage, "study", SMALL)
    assert archive.score(subnets(1), lambda _: 0.0, "shared")[0].accuracy == 0.0
    assert archive.scored() == {subnets(1)[0]: 0.0}


def test_studies_do_not_see_each_other(storage: Path) -> None:
    Archive(storage, "one checkpoint", SMALL).score(subnets(), Judge(), "shared")
    assert Archive(storage, "another checkpoint", SMALL).scored() == {}


def test_an_interrupted_study_loses_one_subnet_and_goes_on(storage: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        Archive(storage, "study", SMALL).score(subnets(), Judge(stop_at=4), "shared")
    reopened, judge = Archive(storage, "study", SMALL), Judge()
    assert list(reopened.scored()) == subnets(3)
    scored = reopened.score(subnets(), judge, "shared")
    assert judge.seen == subnets()[3:]
    assert [s.accuracy for s in scored] == [Judge()(subnet) for subnet in subnets()]


def test_a_killed_process_does_not_hinder_the_next(storage: Path) -> None:
    code = (
        "import os, signal, sys; from search.archive import Archive; from pathlib import Path;"
        "sys.path.append(sys.argv[2]); from test_archive import SMALL, subnets\n"
        "judge = lambda subnet: 0.5 if subnet == subnets()[0] else os.kill(os.getpid(), signal.SIGKILL)\n"
        "Archive(Path(sys.argv[1]), 'study', SMALL).score(subnets(), judge, 'shared')"
    )
    command = [sys.executable, "-c", code, storage, str(Path(__file__).parent)]
    assert subprocess.run(command, capture_output=True).returncode < 0
    archive = Archive(storage, "study", SMALL)
    assert archive.scored() == {subnets()[0]: 0.5}
    assert len(archive.score(subnets(), Judge(), "shared")) == 6


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_trials_that_others_left_unfinished_are_never_mistaken_for_ours(storage: Path) -> None:
    archive = Archive(storage, "study", SMALL)
    others = optuna.load_study(study_name="study", storage=f"sqlite:///{storage}")
    others.enqueue_trial(subnets()[5].to_dict())
    others.ask()
    others.enqueue_trial(subnets()[4].to_dict())
    archive.score(subnets(2), Judge(), "shared")
    reopened = Archive(storage, "study", SMALL)
    assert reopened.scored() == {subnet: Judge()(subnet) for subnet in subnets(2)}


def test_the_table_has_a_column_per_choice(storage: Path, tmp_path: Path) -> None:
    archive = Archive(storage, "study", SMALL)
    archive.score(subnets(2), lambda _: 0.25, "shared")
    archive.score(subnets(3), lambda _: 0.75, "midrange")
    archive.write_table(tmp_path / "out" / "archive.parquet")
    table = pd.read_parquet(tmp_path / "out" / "archive.parquet")
    assert list(table.columns) == ["subnet_id", "accuracy", "purpose", "depth", "kernel", "expand"]
    assert list(table["subnet_id"]) == [subnet.id for subnet in subnets(3)]
    assert list(table["purpose"]) == ["shared", "shared", "midrange"]
    assert list(table["accuracy"]) == [0.25, 0.25, 0.75]
    assert list(table["kernel"]) == [subnet["kernel"] for subnet in subnets(3)]


def test_progress_is_reported_after_each_subnet(storage: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    archive = Archive(storage, "study", SMALL)
    archive.score(subnets(2), lambda _: 0.5, "shared", lambda *event: seen.append(event))
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
    Archive(folder / "study.db", "study", SMALL).score(subnets(1), lambda _: 0.5, "shared")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [folder / "study.db"]
    assert Archive(folder / "study.db", "study", SMALL).scored() == {subnets(1)[0]: 0.5}


def test_a_storage_may_also_be_a_url(storage: Path) -> None:
    Archive(f"sqlite:///{storage}", "study", SMALL).score(subnets(1), lambda _: 0.5, "shared")
    assert Archive(storage, "study", SMALL).scored() == {subnets(1)[0]: 0.5}


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (
            "UPDATE trial_values SET value = 7",
            "trial 0 of study 'study' has accuracy 7, outside 0 to 1; delete the file",
        ),
        (
            "UPDATE trial_params SET param_name = 'width' WHERE param_name = 'depth'",
            "trial 0 of study 'study' is not a subnet of this model space",
        ),
    ],
)
def test_a_trial_that_somebody_changed_is_named_and_not_used(storage: Path, statement: str, words: str) -> None:
    Archive(storage, "study", SMALL).score(subnets(1), lambda _: 0.5, "shared")
    with closing(sqlite3.connect(storage)) as database, database:
        database.execute(statement)
    with pytest.raises(FactoryError, match=re.escape(f"study.db: {words}")):
        Archive(storage, "study", SMALL).scored()


def test_a_storage_that_is_not_a_regular_file_is_refused_without_waiting_for_it(storage: Path) -> None:
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
    archive.score(subnets(1), Judge(), "shared")
    (tmp_path / "study.db").write_bytes(b"no database" * 100)
    with pytest.raises(FactoryError, match=r"search storage .* cannot be used"):
        archive.score(subnets(3), Judge(), "shared")


@pytest.fixture(scope="module")
def in_memory() -> Archive:
    """An archive in memory that no test of this module fills."""
    return Archive("sqlite://", "study", SMALL)


@pytest.mark.parametrize("error", [OSError("disk"), StorageInternalError("commit"), SQLAlchemyError("other database")])
def test_an_error_of_the_scoring_function_passes_through(in_memory: Archive, error: Exception) -> None:
    def evaluate(_: object) -> float:
        raise error

    with pytest.raises(type(error)) as caught:
        in_memory.score(subnets(1), evaluate, "shared")
    assert caught.value is error


def failing(error: type[Exception]):
    def call(*_: object, **__: object) -> None:
        raise error("connection lost")

    return call


@pytest.mark.parametrize("error", [OSError, ImportError, StorageInternalError, SQLAlchemyError])
@pytest.mark.parametrize("call", ["get_trials", "add_trial"])
def test_what_storages_raise_is_a_storage_error(monkeypatch, in_memory: Archive, call: str, error) -> None:
    monkeypatch.setattr(optuna.Study, call, failing(error))
    with pytest.raises(FactoryError, match="cannot be used: connection lost"):
        in_memory.score(subnets(1), Judge(), "shared")


@pytest.mark.parametrize("error", [ValueError, KeyError, RuntimeError, TypeError])
@pytest.mark.parametrize("call", ["get_trials", "add_trial"])
def test_a_bug_in_a_storage_call_passes_through(monkeypatch, in_memory: Archive, call: str, error) -> None:
    monkeypatch.setattr(optuna.Study, call, failing(error))
    with pytest.raises(error, match="connection lost"):
        in_memory.score(subnets(1), Judge(), "shared")


def test_an_accuracy_that_is_not_a_number_is_not_a_storage_error(in_memory: Archive) -> None:
    with pytest.raises(TypeError, match="not str"):
        in_memory.score(subnets(1), lambda _: "high", "shared")
