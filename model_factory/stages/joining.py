"""Processes that score for a search: those that a search starts beside itself, and those that join from elsewhere."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import IO, Any

from factory_base.errors import FactoryError
from factory_base.foreign import one_line
from factory_base.wording import counted
from model_factory.console import Console
from model_factory.run import Run
from model_factory.stages.archive import open_archive, shared_inputs, study_name
from model_factory.stages.materials import Materials
from model_factory.stages.train import Trained
from supernet.space import SubnetConfig

_LEADER = "MODEL_FACTORY_LEADER"
"""The environment variable with the process that started a worker: without it there is nothing to do."""
_WAITS_S = 60.0
"""Seconds for which a process waits for a search to begin: those of a cluster start at about the same time."""
_POLL_S = 0.2
_ENDS_S = 10.0


@contextmanager
def local_workers(run: Run, console: Console, count: int) -> Iterator[None]:
    """Keep `count` processes on this machine that score for the search in the context.

    One that stops is reported; the others do its work.
    """
    command = [sys.executable, "-m", "model_factory", "search", "--join", "--quiet", "--run", str(run.folder)]
    environment = os.environ | {_LEADER: str(os.getpid())}
    with ExitStack() as stack:
        logs: list[IO[bytes]] = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(count)]
        workers = [
            subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)
            for log in logs
        ]
        try:
            yield
        finally:
            _end(workers)
            for number, (worker, log) in enumerate(zip(workers, logs, strict=True), start=1):
                if worker.returncode > 0:  # below 0 it was ended by a signal
                    log.seek(0)
                    lines = log.read().decode(errors="replace").strip().splitlines() or ["no message"]
                    console.say(f"worker {number} stopped: {one_line(lines[-1])}")


def _end(workers: Sequence[subprocess.Popen[bytes]]) -> None:
    for worker in workers:
        worker.terminate()
    for worker in workers:
        try:
            worker.wait(_ENDS_S)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


def join_stage(run: Run, materials: Materials, console: Console, trained: Trained) -> int:
    """Score for a search that uses the same storage, until it ends.

    Nothing is written to the run folder, so this may be the run folder of the search itself.

    Args:
        run: The run.
        materials: Its supernet and images.
        console: Shows progress.
        trained: The trained supernet.

    Returns:
        The number of evaluations.

    Raises:
        FactoryError: No search begins, or it has another checkpoint, other data, settings or libraries, which are
            named; or the storage cannot be used.
    """
    leader = os.environ.get(_LEADER)
    console.say(f"waits for a search of {run.config.name!r}")
    if not _search_begins(run, trained, leader):
        return 0
    archive = open_archive(run, materials, trained)
    images = int(archive.announced()["calibration_images"])

    def evaluate(subnet: SubnetConfig, rows: range, variant: Any) -> list[float]:
        return materials.heldout_scores(subnet, rows, images, variant)

    def is_over() -> bool:
        return _is_orphan(leader) or not archive.announced().get("running")

    try:
        with console.stage("score subnets for a search"):
            return archive.serve(evaluate, is_over, console.say)
    finally:
        archive.close()


def _is_orphan(leader: str | None) -> bool:
    return leader is not None and str(os.getppid()) != leader


def _search_begins(run: Run, trained: Trained, leader: str | None) -> bool:
    """Wait until a search that this process can help is running; False if the process that started this one is gone.

    A process that a search starts shares its run folder, so only others can differ from the search.

    Raises:
        FactoryError: As for `join_stage`.
    """
    from search.archive import announcements

    deadline, own = time.monotonic() + _WAITS_S, study_name(run, trained)
    while True:
        running = {name: found for name, found in announcements(run.storage).items() if found.get("running")}
        if own in running or _is_orphan(leader):
            return own in running
        others = [found for name, found in running.items() if name.startswith(f"{run.config.name}-")]
        if leader is None and others:
            raise FactoryError(_difference(run, shared_inputs(run, trained), others[0].get("inputs", {})))
        if leader is None and time.monotonic() > deadline:
            raise FactoryError(
                f"no search of {run.config.name!r} is running in the storage of this config; start one with `factory "
                "search`, and join it while it runs"
            )
        time.sleep(_POLL_S)


def _difference(run: Run, ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """Why this process cannot help: what it does not have in common with the search."""
    names = [name for name in {**theirs, **ours} if ours.get(name) != theirs.get(name)]
    stated = ", ".join(f"{name} ({_shown(ours.get(name))} here, {_shown(theirs.get(name))} there)" for name in names)
    return (
        f"the search of {run.config.name!r} differs from this run in {counted(len(names), 'thing')}: {stated}; scores "
        "would not be the same, so this process does not join. Copy the run folder and the config of the search"
    )


def _shown(value: Any) -> str:
    text = "nothing" if value in (None, "") else str(value)
    return text[:12] if len(text) == 64 else one_line(text)[:60]  # digests are told apart by their beginning
