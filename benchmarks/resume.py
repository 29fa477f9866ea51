"""Do training runs that are killed at random moments and resumed end with the same bits as undisturbed ones?

    python benchmarks/resume.py
    python benchmarks/resume.py --kills 4 --in-write 2 --folder /tmp/resume

Every training run is the real command, `factory train`, in a process of its own, on the embedded digits. It saves its
training state after every step. A kill is SIGKILL. To kill inside a write, the process is stopped as soon as an
unfinished file is seen, and killed if that file is still unfinished then. Four recipes take turns; see `RECIPES`.

`--quick` kills one training run, inside a write, instead of 20, of which 8 are inside a write; so it uses one recipe.

The last line of standard output is one JSON object: of `killed` training runs, `killed_in_write` were killed while they
wrote a file, and `identical` ended with the same bits. The exit code is 1 if any of these is less than asked for.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml
from common import log, make_parser, parse_options, processor

from factory_base.files import TEMPORARY_MARK
from factory_base.processors import usable_cores
from model_factory.stages.cached import library_version

CONFIG: dict[str, Any] = {
    "name": "resume",
    "threads": 1,
    "data": {"source": "digits", "image_size": 12, "heldout_fraction": 0.2, "test_fraction": 0.25, "limit": 500},
    "model": {
        "resolutions": [8, 12],
        "stem_width": 16,
        "stages": [
            {"widths": [16, 24], "depths": [1, 2], "kernels": [3], "expands": [1, 2], "stride": 2},
            {"widths": [24, 48], "depths": [1, 2], "kernels": [3, 5], "expands": [2, 3], "stride": 2},
        ],
        "head_width": 512,
    },
    "training": {
        "epochs": 2,
        "batch_size": 30,
        "learning_rate": 0.1,
        "largest_only": 0.3,
        "augment": {"shift": 1},
        "save_every": 0.001,
    },
    "search": {"calibration_images": 60},
    "targets": [{"device": "midrange"}],
}
"""A training run of 26 steps (52 in the last recipe), short, and with files so large that a write can be seen."""

RECIPES: dict[str, dict[str, Any]] = {
    "adamw, teacher ema, micro-batches": {
        "optimizer": "adamw",
        "learning_rate": 0.004,
        "teacher": "ema",
        "micro_batch_size": 15,
        "hard_label_share": 0.5,
    },
    "sgd, bfloat16, sampler macs": {"precision": "bfloat16", "sampler": "macs"},
    "sgd, float16, alpha-divergence": {"precision": "float16", "distillation": "alpha"},
    "sgd, diverged and rolled back": {"learning_rate": 2.0, "warmup": 0.5, "epochs": 4},
}
"""Together they have both optimizers, all precisions and losses, an EMA teacher, micro-batches and a roll-back. The
last one diverges because of its learning rate."""

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
"""Environment variables of the command: the order of sums, and so the bits, depends on the number of threads."""

ATTEMPTS = 5
"""Starts of a run that ends before it can be killed, before it is counted as not killed."""

PATIENCE_S = 300.0
"""Seconds to wait for the step at which to kill: many times what a whole run takes on a busy machine."""

STEP_POLL_S, WRITE_POLL_S = 0.005, 0.0002
"""Seconds between looks at a run: a fraction of a step, and a fraction of the write of a training state."""

START_SHARE, STEP_DELAY_S = 0.3, 0.1
"""A kill before the first step comes within this share of the whole run, which starting takes at least; any other kill
comes within this many seconds, about the time of a step, after the step."""

QUICK = {"kills": 1, "in_write": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class Undisturbed:
    """An undisturbed training run.

    Attributes:
        weights: Bytes of the checkpoint.
        curve: Results of the checks.
        steps: Number of steps.
        rolled_back: Whether it diverged and was rolled back.
        seconds: Time from the start of the command to its end.
    """

    weights: bytes
    curve: list[dict[str, Any]]
    steps: int
    rolled_back: bool
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A training run that was killed once and resumed.

    Attributes:
        recipe: Name in `RECIPES`.
        step: Finished steps in its newest training state when it was killed; 0 without a state.
        unfinished: Name of the file that it was writing when it was killed; "" if it was not writing one.
        identical: Whether it ended with the weights and the curve of the undisturbed run.
    """

    recipe: str
    step: int
    unfinished: str
    identical: bool


class TrainingRun:
    """The command `factory train` in a folder of its own.

    Args:
        folder: Created with a config for the recipe; an existing folder is replaced.
        recipe: Name in `RECIPES`.
        seed: Seed in the config.
    """

    def __init__(self, folder: Path, recipe: str, seed: int) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        config = CONFIG | {"seed": seed, "training": CONFIG["training"] | RECIPES[recipe]}
        (folder / "factory.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        self.folder, self.recipe = folder, recipe
        self.run_folder = folder / "runs" / "resume"

    @contextmanager
    def process(self) -> Iterator[subprocess.Popen[str]]:
        """The running command; killed at the end if it still runs."""
        command = [sys.executable, "-m", "model_factory", "train"]
        pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, cwd=self.folder, env=os.environ | ONE_THREAD, **pipes) as process:
            try:
                yield process
            finally:
                process.kill()

    def finish(self) -> str:
        """Train to the end; returns the messages of the command. Raises `RuntimeError` if it fails."""
        with self.process() as process:
            messages = process.communicate()[1]
        if process.returncode:
            raise RuntimeError(f"{self.recipe}: factory train ended with exit code {process.returncode}: {messages}")
        return messages

    def weights(self) -> bytes:
        """Bytes of the checkpoint of the finished run."""
        return (self.run_folder / "supernet.safetensors").read_bytes()

    def curve(self) -> list[dict[str, Any]]:
        """Results of the checks of the finished run."""
        record = json.loads((self.run_folder / "stages" / "train.json").read_text(encoding="utf-8"))
        curve: list[dict[str, Any]] = record["result"]["curve"]
        return curve

    def step(self) -> int:
        """Finished steps in the newest training state, from its header, which is small; 0 without a state."""
        try:
            with (self.run_folder / "training.safetensors").open("rb") as stream:
                header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        except FileNotFoundError:
            return 0
        return int(json.loads(header["__metadata__"]["training"])["progression"]["step"])

    def unfinished(self) -> Path | None:
        """A file of weights that is being written, or was when the process was killed; None if there is none."""
        return next(self.run_folder.glob(f"*.safetensors{TEMPORARY_MARK}*"), None)


def main(arguments: list[str]) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    started = time.monotonic()
    try:
        with tempfile.TemporaryDirectory() as temporary:
            folder: Path = options.folder or Path(temporary)
            undisturbed = {
                recipe: train_undisturbed(folder / f"undisturbed-{number}", recipe, options.seed)
                for number, recipe in enumerate(list(RECIPES)[: options.kills])
            }
            outcomes = list(disturb(folder, undisturbed, options))
    except RuntimeError as error:
        log(f"error: {error}")
        return 1
    print_table(outcomes, undisturbed)
    result = metrics(outcomes, undisturbed, options) | {"seconds": round(time.monotonic() - started, 1)}
    print(json.dumps(result))
    asked = (options.kills, options.kills, options.in_write)
    found = (result["identical"], result["killed"], min(result["killed_in_write"], options.in_write))
    return 0 if found == asked else 1


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = make_parser(__doc__)
    parser.add_argument("--kills", type=int, default=20, help="training runs, each killed once (default 20)")
    parser.add_argument(
        "--in-write", type=int, default=8, help="how many of them to kill inside a write, at least (default 8)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the kills and of the training runs (default 0)")
    parser.add_argument("--folder", type=Path, help="train in this folder and keep it; default is a temporary one")
    options = parse_options(parser, arguments, QUICK)
    if not 0 <= options.in_write <= options.kills or options.kills < 1:
        parser.error("--kills must be at least 1, and --in-write between 0 and --kills")
    return options


def train_undisturbed(folder: Path, recipe: str, seed: int) -> Undisturbed:
    """The training run that killed ones are compared with."""
    started = time.monotonic()
    training = TrainingRun(folder, recipe, seed)
    messages = training.finish()
    curve, seconds = training.curve(), time.monotonic() - started
    log(f"undisturbed: {recipe}: {seconds:.1f} s")
    return Undisturbed(
        weights=training.weights(),
        curve=curve,
        steps=curve[-1]["step"],
        rolled_back="roll-back 1" in messages,
        seconds=seconds,
    )


def disturb(folder: Path, undisturbed: dict[str, Undisturbed], options: argparse.Namespace) -> Iterator[Outcome]:
    """Kill as many training runs as asked for, first those inside a write, and resume each to its end."""
    rng = random.Random(options.seed)
    recipes = list(undisturbed)
    for number in range(options.kills):
        recipe = recipes[number % len(recipes)]
        training = TrainingRun(folder / f"killed-{number}", recipe, options.seed)
        if not any(kill(training, undisturbed[recipe], rng, number < options.in_write) for _ in range(ATTEMPTS)):
            log(f"{number + 1}/{options.kills}: {recipe}: ended before it could be killed, {ATTEMPTS} times")
            continue
        step, unfinished = training.step(), training.unfinished()
        training.finish()
        expected = undisturbed[recipe]
        identical = training.weights() == expected.weights and training.curve() == expected.curve
        cut = unfinished.name.partition(TEMPORARY_MARK)[0] if unfinished else ""
        outcome = Outcome(recipe=recipe, step=step, unfinished=cut, identical=identical)
        log(f"{number + 1}/{options.kills}: {describe(outcome)}")
        yield outcome


def kill(training: TrainingRun, undisturbed: Undisturbed, rng: random.Random, in_write: bool) -> bool:
    """Start `training` and kill it at a random moment, if asked inside a write; False if it ended before."""
    step = rng.randrange(undisturbed.steps)
    delay = rng.random() * (START_SHARE * undisturbed.seconds if step == 0 else STEP_DELAY_S)
    deadline = time.monotonic() + PATIENCE_S
    with training.process() as process:
        while training.step() < step and process.poll() is None and time.monotonic() < deadline:
            time.sleep(STEP_POLL_S)
        time.sleep(0 if in_write else delay)
        while in_write and process.poll() is None and not stopped_in_write(process, training):
            time.sleep(WRITE_POLL_S)
        process.kill()
        process.communicate()
    return process.returncode == -signal.SIGKILL


def stopped_in_write(process: subprocess.Popen[str], training: TrainingRun) -> bool:
    """Whether `process` is now stopped with a half-written file; otherwise it continues."""
    if training.unfinished() is None:
        return False
    process.send_signal(signal.SIGSTOP)
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    if not os.WIFSTOPPED(status):
        process.returncode = os.waitstatus_to_exitcode(status)
        return False
    if training.unfinished() is not None:
        return True
    process.send_signal(signal.SIGCONT)
    return False


def describe(outcome: Outcome) -> str:
    """The outcome in one line."""
    place = f"in the write of {outcome.unfinished}" if outcome.unfinished else "between writes"
    same = "identical" if outcome.identical else "DIFFERENT"
    return f"{outcome.recipe}: killed after step {outcome.step}, {place}: {same}"


def print_table(outcomes: list[Outcome], undisturbed: dict[str, Undisturbed]) -> None:
    """The outcomes as Markdown, one row per recipe."""
    print("| recipe | steps | killed | inside a write | identical |")
    print("|---|--:|--:|--:|--:|")
    for recipe, expected in undisturbed.items():
        mine = [outcome for outcome in outcomes if outcome.recipe == recipe]
        cut, same = sum(bool(outcome.unfinished) for outcome in mine), sum(outcome.identical for outcome in mine)
        print(f"| {recipe} | {expected.steps} | {len(mine)} | {cut} | {same} |")
    print()


def metrics(
    outcomes: list[Outcome], undisturbed: dict[str, Undisturbed], options: argparse.Namespace
) -> dict[str, Any]:
    """The JSON object of the last line."""
    return {
        "benchmark": "resume",
        "quick": options.quick,
        "identical": sum(outcome.identical for outcome in outcomes),
        "killed": len(outcomes),
        "killed_in_write": sum(bool(outcome.unfinished) for outcome in outcomes),
        "rolled_back": sum(undisturbed[outcome.recipe].rolled_back for outcome in outcomes),
        "command": "factory train",
        "checkpoint_bytes": max(len(expected.weights) for expected in undisturbed.values()),
        "machine": {"processor": processor(), "cores": usable_cores(), "system": platform.system()},
        "threads": 1,
        "torch": library_version("torch"),
        "python": platform.python_version(),
        "seed": options.seed,
        "date": date.today().isoformat(),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
