"""An archive that several processes fill together, in every storage: nothing is scored twice, and nothing is lost."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from postgresql_server import free_port

from factory_base.errors import DataError, FactoryError
from search.archive import Archive
from search.scored import Scored
from search.storage import open_storage
from search.work_queue import Offer, Work
from supernet.space import Choice, SearchSpace

SPACE = SearchSpace((Choice(name="width", options=tuple(range(40))),))
PROXY = """
import sys
from optuna.storages import get_storage, run_grpc_proxy_server
run_grpc_proxy_server(get_storage(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]))
"""


@pytest.fixture(params=["sqlite", "journal", "postgresql", "grpc"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a storage of each kind."""
    match request.param:
        case "sqlite":
            return f"sqlite:///{tmp_path}/study.db"
        case "journal":
            return f"journal://{tmp_path}/study.log"
        case other:
            return request.getfixturevalue(other)


@pytest.fixture(scope="module")
def grpc(postgresql: str) -> Iterator[str]:
    """A real gRPC proxy of Optuna before a real database."""
    pytest.importorskip("grpc", reason="grpcio is not installed")
    port = free_port()
    server = subprocess.Popen([sys.executable, "-W", "ignore", "-c", PROXY, postgresql, str(port)])
    yield f"grpc://127.0.0.1:{port}"
    server.terminate()
    server.wait()


Open = Callable[..., Archive]


@pytest.fixture
def opened(storage: str) -> Iterator[Open]:
    """Opens the same study, as another process would. Databases outlive a test, so each test has one of its own."""
    archives, name = list[Archive](), f"study-{uuid.uuid4()}"

    def open_one(**options: float) -> Archive:
        archives.append(Archive(storage, name, SPACE, **options))
        return archives[-1]

    yield open_one
    for archive in archives:
        archive.close()


def subnets(count: int):
    return [SPACE.subnet({"width": width}) for width in range(count)]


def truth(subnet, rows: range, variant: str = "fp32") -> list[bool]:
    rng = random.Random(f"{subnet.id} {variant}")
    return [rng.random() < 0.7 for _ in range(100)][rows.start : rows.stop]


class Counter:
    """Scores slowly, and remembers what it scored."""

    def __init__(self, seconds: float = 0.02) -> None:
        self.seen: list[tuple[str, range]] = []
        self._seconds = seconds

    def __call__(self, subnet, rows: range, variant: str = "fp32") -> list[bool]:
        time.sleep(self._seconds)
        self.seen.append((subnet.id, rows))
        return truth(subnet, rows, variant)


def test_workers_score_every_subnet_once_and_the_archive_is_that_of_one(opened: Open, tmp_path: Path) -> None:
    counter, over = Counter(), threading.Event()
    leader, *workers = (opened() for _ in range(3))
    with ThreadPoolExecutor(2) as pool:
        serving = [pool.submit(worker.serve, counter, over.is_set) for worker in workers]
        found = leader.score(subnets(12), 10, counter, "shared")
        found += leader.of_variant("int8").score(subnets(4), 10, partial(counter, variant="int8"), "int8")
        found += leader.score(subnets(4), 20, counter, "final")
        over.set()
        helped = sum(worker.result() for worker in serving)
    assert len(counter.seen) == 20
    assert 0 < helped <= 20
    alone = Archive(tmp_path / "alone.db", "study", SPACE)
    expected = alone.score(subnets(12), 10, truth, "shared")
    expected += alone.of_variant("int8").score(subnets(4), 10, partial(truth, variant="int8"), "int8")
    expected += alone.score(subnets(4), 20, truth, "final")
    assert found == expected
    assert list(leader.scored().items()) == list(alone.scored().items())


def test_two_searches_of_the_same_study_share_their_scores(opened: Open) -> None:
    counter = Counter()
    archives = [opened() for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        found = [
            pool.submit(a.score, subnets(8), images, counter, "shared")
            for a, images in zip(archives, (10, 6), strict=True)
        ]
    assert [one.first(6) for one in found[0].result()] == found[1].result()
    assert len(counter.seen) == len(set(counter.seen)) <= 16
    assert all(sum(seen == subnet.id for seen, _ in counter.seen) <= 2 for subnet in subnets(8))


def test_the_work_of_a_killed_process_is_taken_over(opened: Open) -> None:
    dead, alive = (opened(patience=0.5) for _ in range(2))
    dead._queue.offer([offer()])
    assert dead._queue.claim(dead._queue.entries()[0]) is not None
    counter = Counter()
    assert alive.score(subnets(2), 10, counter, "shared") == [Scored.of(s, truth(s, range(10))) for s in subnets(2)]
    assert len(counter.seen) == 2


def offer():
    (subnet,) = subnets(1)
    work = Work(subnet_id=subnet.id, variant="fp32", start=0, stop=10)
    return Offer(work=work, params=subnet.to_dict(), purpose="shared")


def test_a_process_that_was_only_slow_cannot_add_a_second_result(opened: Open) -> None:
    slow, other = (opened(patience=0.3) for _ in range(2))
    slow._queue.offer([offer()])
    lease = slow._queue.claim(slow._queue.entries()[0])
    other.score(subnets(1), 10, truth, "shared")
    assert not slow._queue.finish(lease, 0.0, {"correct": "000"})
    assert slow.scored() == {subnets(1)[0]: Scored.of(subnets(1)[0], truth(subnets(1)[0], range(10)))}


def test_a_beating_process_is_not_taken_for_dead(opened: Open, monkeypatch) -> None:
    monkeypatch.setattr("search.work_queue.BEAT_S", 0.1)
    ours, theirs = (opened(patience=0.6) for _ in range(2))
    counter, begun = Counter(seconds=1.5), threading.Event()

    def slowly(subnet, rows: range) -> list[bool]:
        begun.set()
        return counter(subnet, rows)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ours.score, subnets(1), 10, slowly, "ours")
        begun.wait()
        assert theirs.score(subnets(1), 10, Counter(), "theirs") == first.result()
    assert len(counter.seen) == 1


def test_an_error_of_a_worker_is_met_by_the_search(opened: Open) -> None:
    said: list[str] = []
    leader, worker = (opened() for _ in range(2))
    over = threading.Event()

    def refuses(*_: object, **__: object) -> list[bool]:
        raise DataError("an activation is not finite")

    leader._queue.offer([offer()])
    with ThreadPoolExecutor(1) as pool:
        serving = pool.submit(worker.serve, refuses, over.is_set, said.append)
        while not said:
            time.sleep(0.02)
        with pytest.raises(DataError, match="an activation is not finite"):
            leader.score(subnets(1), 10, refuses, "shared")
        over.set()
        assert serving.result() == 0
    assert "an activation is not finite" in said[0]


def test_an_interrupted_search_takes_back_what_nobody_waits_for(opened: Open) -> None:
    def stops(*_: object) -> list[bool]:
        raise KeyboardInterrupt

    archive = opened()
    with pytest.raises(KeyboardInterrupt):
        archive.score(subnets(5), 10, stops, "shared")
    assert archive._queue.entries() == []


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("journal:study.log", "a journal file is written journal:///PATH, with an absolute path"),
        ("grpc://nowhere", "a gRPC proxy is written grpc://HOST:PORT"),
    ],
)
def test_urls_of_the_wrong_form_are_refused(url: str, reason: str) -> None:
    with pytest.raises(FactoryError, match=reason):
        open_storage(url)


@pytest.mark.parametrize(
    ("url", "module", "extra"),
    [("grpc://127.0.0.1:1", "grpc", "grpc"), ("postgresql+pg8000://127.0.0.1:1/x", "pg8000", "postgresql")],
)
def test_a_missing_package_is_named_with_its_extra(monkeypatch, url: str, module: str, extra: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(FactoryError, match=rf"install it with pip install -e '\.\[{extra}\]'"):
        open_storage(url)


def test_a_proxy_that_does_not_answer_is_named(monkeypatch) -> None:
    pytest.importorskip("grpc", reason="grpcio is not installed")
    monkeypatch.setattr("search.storage._GRPC_READY_S", 0.2)
    with pytest.raises(FactoryError, match=r"no gRPC proxy answers within 0\.2 s"):
        open_storage("grpc://127.0.0.1:1")
