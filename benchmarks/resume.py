"""Kill trainings at random moments, go on, and compare the weights bit by bit with those of undisturbed trainings.

    python benchmarks/resume.py
    python benchmarks/resume.py --kills 4 --in-write 2 --folder /tmp/resume

Every training is the real command, `factory train`, in a process of its own, on the embedded digits. It saves its state
after every step. A kill is SIGKILL. Kills inside a write are aimed: the process is stopped as soon as an unfinished
file is seen, and killed if that file is still unfinished then. Four recipes take turns; see `RECIPES`.

The last line of standard output is one JSON object: of `killed` trainings, `killed_in_write` of them in the write of
a checkpoint, `identical` ended with the same bits. The exit code is 1 where these are fewer than asked for.
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

from factory_base.files import TEMPORARY_MARK
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
ATTEMPTS = 5
PATIENCE_S = 300.0
STEP_POLL_S, WRITE_POLL_S = 0.005, 0.0002


@dataclass(frozen=True, slots=True, kw_only=True)
class Undisturbed:
    """A training that nobody disturbed.

    Attributes:
        weights: bytes of the checkpoint.
        curve: what the checks saw.
        steps: of the training.
        rolled_back: whether it diverged and was rolled back.
        seconds: from the start of the command to its end.
    """

    weights: bytes
    curve: list[dict[str, Any]]
    steps: int
    rolled_back: bool
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A training that was killed once.

    Attributes:
        recipe: name in `RECIPES`.
        step: finished steps in its newest state when it was killed; 0 without a state.
        unfinished: the file whose write the kill cut off, "" for none.
        identical: whether it ended like the undisturbed one.
    """

    recipe: str
    step: int
    unfinished: str
    identical: bool


class Training:
    """`factory train` in a folder of its own.

    Args:
        folder: made with a config for the recipe; a folder that exists is replaced.
        recipe: name in `RECIPES`.
        seed: of the config.
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
        """The command at work; killed at the end where it still is."""
        command = [sys.executable, "-m", "model_factory", "train"]
        pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
        with subprocess.Popen(command, cwd=self.folder, **pipes) as process:
            try:
                yield process
            finally:
                process.kill()

    def finish(self) -> str:
        """Train to the end; what was said on the way. Raises `RuntimeError` where it fails."""
        with self.process() as process:
            said = process.communicate()[1]
        if process.returncode:
            raise RuntimeError(f"{self.recipe}: factory train ended with {process.returncode}: {said}")
        return said

    def weights(self) -> bytes:
        """Of the finished training."""
        return (self.run_folder / "supernet.safetensors").read_bytes()

    def curve(self) -> list[dict[str, Any]]:
        """Of the finished training."""
        record = json.loads((self.run_folder / "stages" / "train.json").read_text(encoding="utf-8"))
        curve: list[dict[str, Any]] = record["result"]["curve"]
        return curve

    def step(self) -> int:
        """Finished steps in the newest state, 0 without one; read from the header, since it is small."""
        try:
            with (self.run_folder / "training.safetensors").open("rb") as stream:
                header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
        except FileNotFoundError:
            return 0
        return int(json.loads(header["__metadata__"]["training"])["progression"]["step"])

    def unfinished(self) -> Path | None:
        """A checkpoint that is being written, or was when the process was killed."""
        return next(self.run_folder.glob(f"*.safetensors{TEMPORARY_MARK}*"), None)


def main(arguments: list[str]) -> int:
    """Run the benchmark."""
    options = parse(arguments)
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
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
        print(f"error: {error}", file=sys.stderr)
        return 1
    print_table(outcomes, undisturbed)
    result = figures(outcomes, undisturbed, options) | {"seconds": round(time.monotonic() - started, 1)}
    print(json.dumps(result))
    asked = (options.kills, options.kills, options.in_write)
    found = (result["identical"], result["killed"], min(result["killed_in_write"], options.in_write))
    return 0 if found == asked else 1


def parse(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="trainings, each killed once (default %(default)s)")
    parser.add_argument(
        "--in-write", type=int, default=8, help="how many of them inside a write, at least (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the trainings (default %(default)s)")
    parser.add_argument("--folder", type=Path, help="train in this folder and keep it; default is a temporary one")
    options = parser.parse_args(arguments)
    if not 0 <= options.in_write <= options.kills or options.kills < 1:
        parser.error("--kills must be at least 1, and --in-write between 0 and --kills")
    return options


def train_undisturbed(folder: Path, recipe: str, seed: int) -> Undisturbed:
    """The training that the killed ones are compared with."""
    started = time.monotonic()
    training = Training(folder, recipe, seed)
    said = training.finish()
    curve, seconds = training.curve(), time.monotonic() - started
    print(f"undisturbed: {recipe}: {seconds:.1f} s", file=sys.stderr, flush=True)
    return Undisturbed(
        weights=training.weights(),
        curve=curve,
        steps=curve[-1]["step"],
        rolled_back="roll-back 1" in said,
        seconds=seconds,
    )


def disturb(folder: Path, undisturbed: dict[str, Undisturbed], options: argparse.Namespace) -> Iterator[Outcome]:
    """Kill as many trainings as asked for, the aimed ones first, and let each go on to its end."""
    rng = random.Random(options.seed)
    recipes = list(undisturbed)
    for number in range(options.kills):
        recipe = recipes[number % len(recipes)]
        training = Training(folder / f"killed-{number}", recipe, options.seed)
        if not any(kill(training, undisturbed[recipe], rng, number < options.in_write) for _ in range(ATTEMPTS)):
            print(f"{number + 1}/{options.kills}: {recipe}: ended before every kill", file=sys.stderr, flush=True)
            continue
        step, unfinished = training.step(), training.unfinished()
        training.finish()
        expected = undisturbed[recipe]
        identical = training.weights() == expected.weights and training.curve() == expected.curve
        cut = unfinished.name.partition(TEMPORARY_MARK)[0] if unfinished else ""
        outcome = Outcome(recipe=recipe, step=step, unfinished=cut, identical=identical)
        print(f"{number + 1}/{options.kills}: {describe(outcome)}", file=sys.stderr, flush=True)
        yield outcome


def kill(training: Training, undisturbed: Undisturbed, rng: random.Random, in_write: bool) -> bool:
    """Start `training`, kill it at a random moment, inside a write where asked for; False where it ended before."""
    step = rng.randrange(undisturbed.steps)
    delay = rng.random() * (0.3 * undisturbed.seconds if step == 0 else 0.1)
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


def stopped_in_write(process: subprocess.Popen[str], training: Training) -> bool:
    """Whether `process` now stands still with a checkpoint half written; else it goes on."""
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
    """One line for people."""
    place = f"in the write of {outcome.unfinished}" if outcome.unfinished else "between writes"
    same = "identical" if outcome.identical else "DIFFERENT"
    return f"{outcome.recipe}: killed after step {outcome.step}, {place}: {same}"


def print_table(outcomes: list[Outcome], undisturbed: dict[str, Undisturbed]) -> None:
    """A row per recipe."""
    print("| recipe | steps | killed | inside a write | identical |")
    print("|---|--:|--:|--:|--:|")
    for recipe, expected in undisturbed.items():
        mine = [outcome for outcome in outcomes if outcome.recipe == recipe]
        cut, same = sum(bool(outcome.unfinished) for outcome in mine), sum(outcome.identical for outcome in mine)
        print(f"| {recipe} | {expected.steps} | {len(mine)} | {cut} | {same} |")
    print()


def figures(
    outcomes: list[Outcome], undisturbed: dict[str, Undisturbed], options: argparse.Namespace
) -> dict[str, Any]:
    """What the last line says."""
    return {
        "benchmark": "resume",
        "identical": sum(outcome.identical for outcome in outcomes),
        "killed": len(outcomes),
        "killed_in_write": sum(bool(outcome.unfinished) for outcome in outcomes),
        "rolled_back": sum(undisturbed[outcome.recipe].rolled_back for outcome in outcomes),
        "command": "factory train",
        "checkpoint_bytes": max(len(expected.weights) for expected in undisturbed.values()),
        "machine": {"processor": processor(), "cores": os.cpu_count(), "system": platform.system()},
        "threads": 1,
        "torch": library_version("torch"),
        "python": platform.python_version(),
        "seed": options.seed,
        "date": date.today().isoformat(),
    }


def processor() -> str:
    """The name of the CPU where the system tells it, else its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
