"""Do several workers score every subnet once if one of them is killed every few seconds, and how much faster are they?

    python benchmarks/workers.py

One process asks for the scores of 200 subnets through `search.Archive`, as a search does, and scores as well; the
others serve, as `factory search --join` does. Any of them may be killed, the first one included. An evaluation sleeps
for 0.2 s and takes no processor, so the speed-up shows what sharing costs, not how many cores there are. The
storage is a PostgreSQL server that the script starts on this machine (Debian package postgresql, and the extra
`postgresql`), or the one that `--storage` names. One worker alone comes first; then 4 workers; then 4 workers of which
every 5 s one is killed with SIGKILL and replaced. `lost` counts subnets without a result at the end, `twice` those with
two, and `equal` says whether the archive is that of one worker. `--quick` has 20 subnets and kills every 2 s.

Standard output ends with a Markdown table and, as its last line, one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from common import environment, log, make_parser, parse_options

from search.archive import Archive
from supernet.space import Choice, SearchSpace, SubnetConfig

IMAGES = 100
QUICK: dict[str, Any] = {"subnets": 20, "kill_every": 2.0}


def main(arguments: list[str]) -> int:
    """Run the benchmark, or one of its workers."""
    options = parse(arguments)
    if options.worker:
        work(options)
        return 0
    with storage(options) as url:
        alone = run(options, url, workers=1, kills=False)
        together = run(options, url, workers=options.workers, kills=False)
        killed = run(options, url, workers=options.workers, kills=True)
    print("| workers | killed | seconds | speed-up | lost | twice |")
    print("|--:|--:|--:|--:|--:|--:|")
    for one in (alone, together, killed):
        one["speedup"] = alone["seconds"] / one["seconds"]
        print(
            f"| {one['workers']} | {one['killed']} | {one['seconds']:.1f} | {one['speedup']:.2f} | {one['lost']} | "
            f"{one['twice']} |"
        )
    equal = alone.pop("archive") == together.pop("archive") == killed.pop("archive")
    result = {
        "benchmark": "workers",
        "quick": options.quick,
        "subnets": options.subnets,
        "evaluation_s": options.seconds,
        "kill_every_s": options.kill_every,
        "lost": killed["lost"] + together["lost"],
        "twice": killed["twice"] + together["twice"],
        "equal": equal,
        "speedup": together["speedup"],
        "speedup_with_kills": killed["speedup"],
        "runs": [alone, together, killed],
        **environment(0),
    }
    print(json.dumps(result))
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--storage", default="", help="URL of an Optuna storage; by default a PostgreSQL server is started"
    )
    parser.add_argument("--subnets", type=int, default=200, help="subnets to score")
    parser.add_argument("--seconds", type=float, default=0.2, help="duration of an evaluation")
    parser.add_argument("--workers", type=int, default=4, help="workers")
    parser.add_argument("--kill-every", type=float, default=5.0, help="seconds between two kills")
    parser.add_argument("--worker", default="", metavar="STUDY", help=argparse.SUPPRESS)
    parser.add_argument("--serves", action="store_true", help=argparse.SUPPRESS)
    return parse_options(parser, arguments, QUICK)


@contextmanager
def storage(options: argparse.Namespace) -> Iterator[str]:
    """The URL of the storage."""
    if options.storage:
        yield options.storage
        return
    sys.path.append(str(Path(__file__).parents[1] / "tests"))
    from postgresql_server import running_postgresql

    with running_postgresql() as url:
        yield url


def run(options: argparse.Namespace, url: str, workers: int, *, kills: bool) -> dict[str, Any]:
    """Score everything with so many workers."""
    study, rng = f"workers-{uuid.uuid4()}", random.Random(0)
    log(f"{workers} workers{', one killed now and then' if kills else ''}")
    Archive(url, study, space(options)).close()  # the tables are made before the time is taken
    started, killed = time.perf_counter(), 0
    running = [start(options, url, study, serves=place > 0) for place in range(workers)]
    next_kill = time.monotonic() + options.kill_every
    while running[0].poll() != 0:
        for place, process in enumerate(running):
            if process.poll() is not None:
                if process.returncode != -signal.SIGKILL:
                    raise SystemExit(f"a worker stopped with code {process.returncode}")
                running[place] = start(options, url, study, serves=place > 0)
        if kills and time.monotonic() >= next_kill:
            os.kill(rng.choice(running).pid, signal.SIGKILL)
            killed, next_kill = killed + 1, next_kill + options.kill_every
        time.sleep(0.02)
    seconds = time.perf_counter() - started
    for process in running:
        process.terminate()
        process.wait()
    return {"workers": workers, "killed": killed, "seconds": seconds, **counted(options, url, study)}


def start(options: argparse.Namespace, url: str, study: str, *, serves: bool) -> subprocess.Popen[bytes]:
    """A worker."""
    given = ["--subnets", str(options.subnets), "--seconds", str(options.seconds), *(["--serves"] if serves else [])]
    return subprocess.Popen([sys.executable, __file__, "--worker", study, "--storage", url, *given])


def work(options: argparse.Namespace) -> None:
    """What a worker does: ask for all scores, or serve the one that asks until it is ended."""

    def evaluate(subnet: SubnetConfig, rows: range, variant: str = "fp32") -> list[bool]:  # noqa: ARG001 - one variant
        time.sleep(options.seconds)
        return truth(subnet)[rows.start : rows.stop]

    archive = Archive(options.storage, options.worker, space(options))
    if options.serves:
        archive.serve(evaluate, lambda: False)
    archive.score(subnets(options), IMAGES, evaluate, "benchmark")
    archive.close()


def counted(options: argparse.Namespace, url: str, study: str) -> dict[str, Any]:
    """What is in the storage at the end."""
    import optuna

    archive = Archive(url, study, space(options))
    scored = archive.scored()
    archive.close()
    complete = optuna.load_study(study_name=study, storage=url).get_trials(states=(optuna.trial.TrialState.COMPLETE,))
    results = Counter(trial.user_attrs["subnet_id"] for trial in complete)
    return {
        "lost": sum(subnet not in scored or scored[subnet].images < IMAGES for subnet in subnets(options)),
        "twice": sum(count > 1 for count in results.values()),
        "archive": {subnet.id: found.correct for subnet, found in sorted(scored.items(), key=lambda item: item[0].id)},
    }


def space(options: argparse.Namespace) -> SearchSpace:
    """As many subnets as are scored."""
    return SearchSpace((Choice(name="width", options=tuple(range(options.subnets))),))


def subnets(options: argparse.Namespace) -> list[SubnetConfig]:
    """All of them."""
    return [space(options).subnet({"width": width}) for width in range(options.subnets)]


def truth(subnet: SubnetConfig) -> list[bool]:
    """The results of a subnet."""
    rng = random.Random(subnet.id)
    return [rng.random() < 0.7 for _ in range(IMAGES)]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
