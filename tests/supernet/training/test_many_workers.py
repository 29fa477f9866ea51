"""Two processes under `torchrun` train like one, end with the same weights, and resume after one of them dies."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import small_run
import torch
from safetensors.torch import load_file
from small_run import Job

HALVES = {"micro_batch_size": 16}
"""The share of a batch that each of two workers takes, so that batch normalisation sees the same examples together."""
ALWAYS = {"save_every": 1e-9}
GENTLE = {"learning_rate": 0.002}


@dataclass(frozen=True, slots=True)
class Pair:
    """The results that two processes left in a folder."""

    folder: Path

    def weights(self, rank: int) -> dict[str, torch.Tensor]:
        return load_file(self.folder / f"weights-{rank}.safetensors")

    def facts(self, rank: int) -> dict[str, Any]:
        return json.loads((self.folder / f"facts-{rank}.json").read_text(encoding="utf-8"))


ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}


def torchrun(jobs: list[Job]) -> subprocess.CompletedProcess[str]:
    """Run `jobs` on two processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [small_run.__file__, json.dumps([asdict(job) for job in jobs])]
    for job in jobs:
        Path(job.folder).mkdir(exist_ok=True)
    return subprocess.run(command, check=False, capture_output=True, text=True, env=ENVIRONMENT, timeout=200)


def two_processes(job: Job) -> list[tuple[int | None, str]]:
    """Run `job` on two processes without `torchrun`; the exit code and the standard error of each."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    meeting = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    logs = [Path(job.folder) / f"log-{rank}.txt" for rank in (0, 1)]
    processes = [small_run.start([job], path, RANK=str(rank), **meeting) for rank, path in enumerate(logs)]
    for process in processes:
        process.join(timeout=200)
    return [(p.exitcode, path.read_text(encoding="utf-8")) for p, path in zip(processes, logs, strict=True)]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Pair]]:
    """Several runs on two processes, which are started only once."""
    root = tmp_path_factory.mktemp("pairs")
    jobs = [
        Job(folder=str(root / "share")),
        Job(folder=str(root / "alone"), training={"largest_only": 1, "epochs": 2}),
        Job(folder=str(root / "dropout"), training=GENTLE, space="loud"),
        Job(folder=str(root / "poisoned"), poisoned_epochs=(2,)),
        Job(folder=str(root / "odd"), training={"batch_size": 33}),
    ]
    ended = torchrun(jobs)
    assert ended.returncode == 0, ended.stderr
    return {Path(job.folder).name: Pair(Path(job.folder)) for job in jobs}


def one_process(folder: Path, **job: Any) -> dict[str, torch.Tensor]:
    torch.set_num_threads(1)
    supernet, _, _ = small_run.run(Job(folder=str(folder), **job))
    return {name: value.detach() for name, value in supernet.named_parameters()}


def assert_same_bits(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name, value in expected.items() if not torch.equal(found[name], value)] == []


@pytest.mark.parametrize("name", ["share", "alone", "dropout", "poisoned"])
def test_both_workers_end_with_the_same_bits(pairs: dict[str, Pair], name: str) -> None:
    assert_same_bits(pairs[name].weights(0), pairs[name].weights(1))


@pytest.mark.parametrize(
    ("name", "job"),
    [
        ("share", {"training": HALVES}),
        ("dropout", {"training": GENTLE | HALVES, "space": "loud"}),
        ("poisoned", {"training": HALVES, "poisoned_epochs": (2,)}),
    ],
)
def test_two_workers_end_like_one_process_with_the_same_micro_batches(
    pairs: dict[str, Pair], tmp_path: Path, name: str, job: dict[str, Any]
) -> None:
    """Gradients of several networks are summed in another order, hence the tolerance."""
    torch.testing.assert_close(pairs[name].weights(0), one_process(tmp_path, **job), rtol=1e-5, atol=1e-7)


def test_if_only_one_network_is_trained_two_workers_end_with_the_bits_of_one_process(
    pairs: dict[str, Pair], tmp_path: Path
) -> None:
    training = {"largest_only": 1, "micro_batch_size": 16, "epochs": 2}
    torch.testing.assert_close(pairs["alone"].weights(0), one_process(tmp_path, training=training), rtol=0, atol=0)


def test_both_workers_train_the_same_subnets_and_average_once_a_step(pairs: dict[str, Pair]) -> None:
    first, second = pairs["share"].facts(0), pairs["share"].facts(1)
    assert first["subnets"] == second["subnets"]
    assert len(first["subnets"]) == 4 + 8 * 3  # 12 steps, of which 4 are the largest network's alone
    assert len(set(first["subnets"])) > 5
    assert first["averages"] == second["averages"] == 12


def test_divergence_on_one_worker_rolls_both_back(pairs: dict[str, Pair]) -> None:
    first, second = pairs["poisoned"].facts(0), pairs["poisoned"].facts(1)
    assert first["rollbacks"] == second["rollbacks"] == 1
    assert first["curve"] == second["curve"]
    assert len(first["notes"]) == 1
    assert second["notes"] == []


def test_a_batch_that_cannot_be_divided_is_refused_by_both(pairs: dict[str, Pair]) -> None:
    for rank in (0, 1):
        assert "a batch of 33 cannot be divided among 2 workers" in pairs["odd"].facts(rank)["error"]


def assert_one_died(ended: list[tuple[int | None, str]], rank: int) -> None:
    """The other worker ended with one line that reports it."""
    assert ended[rank][0] == -signal.SIGKILL
    code, log = ended[1 - rank]
    (line,) = log.splitlines()
    assert code == 1
    assert line.startswith(f"error: worker {1 - rank} of 2 has lost another one (")
    assert line.endswith("; see that worker's output, and run the same command again to continue")


def test_the_death_of_the_first_worker_ends_the_run_with_a_clear_line(tmp_path: Path) -> None:
    assert_one_died(two_processes(Job(folder=str(tmp_path), training=ALWAYS, death={"step": 7}, dying_rank=0)), 0)


def test_after_the_death_of_the_second_worker_the_next_run_ends_with_the_same_bits(
    pairs: dict[str, Pair], tmp_path: Path
) -> None:
    dying = Job(folder=str(tmp_path), training=ALWAYS, death={"step": 7}, dying_rank=1)
    assert_one_died(two_processes(dying), 1)
    assert [code for code, _ in two_processes(Job(folder=dying.folder, training=ALWAYS))] == [0, 0]
    resumed = Pair(tmp_path)
    for rank in (0, 1):
        assert_same_bits(resumed.weights(rank), pairs["share"].weights(0))
    assert len(resumed.facts(1)["subnets"]) <= 6 * 3  # at most the last 6 of 12 steps
